"""Signs that a whole cut is an older copy of the source, told when it is taken.

Tables tell by their rows, each for itself and only when it is moved (`going_back`). Here the files
are compared: of the pages that changed between the two cuts before, a restored file has many again
to the last byte; a living one, next to none. A backup that was written anew (VACUUM, a dump) has
other pages, and shows by its counters or its schema at most.
"""

from contextlib import ExitStack
from pathlib import Path

from migration_assets.errors import SourceError
from migration_assets.model import Cut
from migration_assets.source import cut as cuts
from migration_assets.source.going_back import counter_back
from migration_assets.source.reader import catalog_in
from migration_assets.state import State

_CHUNK = 4 * 2**20  # bytes of each file that are compared at a time; a multiple of every page size
_FEW = 20  # changed pages, below which nothing is told
_SHARE = 0.2  # of them: a backup of the middle of a week undoes as many


def signs(state: State, cut: Cut) -> list[str]:
    """Say what of a cut went back since the cut before it; nothing where there is none."""
    before = [c for c in cuts.cuts(state, cut.source) if c.week < cut.week][-2:]
    if not before:
        return []
    last = before[-1]
    pages = _pages(before[0], last, cut) if before[0] != last else []
    return [*_counters(last, cut), *_schema(state, last, cut), *pages]


def _counters(last: Cut, cut: Cut) -> list[str]:
    found: list[str] = []
    for table in catalog_in(cut).tables:
        back = counter_back(last, cut, table)
        if back is not None:
            found.append(
                f"table {table.name}: its AUTOINCREMENT counter went back from {back.before:,} to"
                f" {back.now:,}, and {back.rows:,} rows of week {last.week} have keys above it"
            )
    return found


def _schema(state: State, last: Cut, cut: Cut) -> list[str]:
    if cut.fingerprint == last.fingerprint:
        return []
    earlier = [
        c.week
        for c in cuts.cuts(state, cut.source)
        if c.week < last.week and c.fingerprint == cut.fingerprint
    ]
    return [f"the schema is again that of week {earlier[-1]}"] if earlier else []


def _pages(older: Cut, last: Cut, cut: Cut) -> list[str]:
    if len({older.page_size, last.page_size, cut.page_size}) > 1:
        return []
    changed, undone = _compared(older.path, last.path, cut.path, cut.page_size)
    if changed < _FEW or undone < _SHARE * changed:
        return []
    told = f"{undone:,} of {changed:,} pages that changed until week {last.week}"
    return [f"{told} are again as in week {older.week}"]


def _compared(older: Path, last: Path, now: Path, page: int) -> tuple[int, int]:
    """Count the pages that differ between the first two files, and those that the third undoes.

    The first page changes with every commit, and says nothing.
    """
    changed = undone = 0
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("rb")) for path in (older, last, now)]
            first = True
            while all(chunks := [file.read(_CHUNK) for file in files]):
                if chunks[0] != chunks[1]:
                    for place in range(page if first else 0, min(map(len, chunks)), page):
                        a, b, c = (chunk[place : place + page] for chunk in chunks)
                        changed += a != b
                        undone += a != b and a == c
                first = False
    except OSError as error:
        raise SourceError(
            what=f"a cut can't be read ({error.strerror})",
            where=f"cut {now.name}",
            hint="check the disk of the state folder",
        ) from error
    return changed, undone
