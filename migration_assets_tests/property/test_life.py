"""A migration's random life: after every step the target is what a plain Python model says."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.machine import Life


def test_the_target_is_what_the_model_says_after_every_step(url: str) -> None:
    """Weeks in any order, faults at every stage, foreign writes, holds, changed schemas."""
    figures = Figures()

    class Here(Life):
        """A life on this test's database."""

    Here.url, Here.figures = url, figures
    run_state_machine_as_test(
        Here, settings=settings(max_examples=10, stateful_step_count=40, print_blob=True, phases=[Phase.generate])
    )
    print(figures)
