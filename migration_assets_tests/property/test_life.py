"""A migration's random life: after every step the target is what a plain Python model says."""

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from migration_assets_tests.lives.figures import Figures
from migration_assets_tests.lives.machine import Life

LIVES, STEPS = 10, 25


def test_the_target_is_what_the_model_says_after_every_step(url: str) -> None:
    """Weeks in any order, faults at every stage, foreign writes, undone, repaired, on hold."""

    class Here(Life):
        """A life on this test's database."""

    Here.url, Here.figures = url, Figures()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes many minutes
        ),
    )
    assert Here.figures.moves["load"] >= LIVES
    assert Here.figures.proofs["green"] >= LIVES
    assert Here.figures.rows_lost == 0
