"""What lives were made of: counted while they run, for the test's own eyes and for the soak."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Figures:
    """Counts over all lives of a run."""

    lives: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    foreign_writes: int = 0
    source_changes: int = 0
    rows_compared: int = 0
    rows_lost: int = 0
    proofs: Counter[str] = field(default_factory=Counter)
