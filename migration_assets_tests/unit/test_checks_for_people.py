"""What a person reads at a check: a sentence, numbers, where it differs, the command that mends."""

import dataclasses
from datetime import date

import pytest

from migration_assets.errors import GuardError, ProofError, StateError
from migration_assets.findings import (
    Difference,
    Finding,
    ForeignKeyCheck,
    Inspection,
    Proof,
    RoundTrip,
    SchemaCheck,
    Violation,
)
from migration_assets.model import SourceForeignKey, TableMapping
from migration_assets.report.checks import (
    CHECKS,
    FOREIGN_KEYS,
    MOVED,
    NOW,
    ROUND_TRIP,
    SCHEMA,
    STORED,
    Asked,
    Result,
    of_error,
    of_inspection,
    of_proof,
)

WEEK, NEXT = date(2026, 10, 4), date(2026, 10, 11)
ASKED = Asked(table="orders", week=WEEK, show_keys=True)
PROOF = Proof(
    week=WEEK,
    cut="2026-10-04-0123",
    mapping_hash="m",
    source_rows=7412,
    target_rows=7410,
    quarantined_rows=2,
    unfit_rows=2,
    source_total=2**70 + 10,
    target_total=2**70 + 10,
    algorithm="sha256/1",
    rows_equal=True,
    digest_equal=True,
    quarantine_equal=True,
)
MAPPING = TableMapping(
    source="main",
    table="orders",
    target_schema="public",
    target_table="orders",
    columns=(),
    key=(),
    key_name="",
)
KEY = SourceForeignKey(columns=("customer",), parent="customers", parent_columns=("id",))
INSPECTION = Inspection(
    week=WEEK,
    mapping=MAPPING,
    round_trip=RoundTrip(week=WEEK, cut="c", changed_rows=1000, sampled_rows=998),
    schema=SchemaCheck(cut_week=WEEK, columns=12, indexes=3),
    foreign_keys=(ForeignKeyCheck(key=KEY, source_orphans=0, target_orphans=0, withheld=0),),
)


def proofs(proof: Proof, asked: Asked = ASKED) -> list[Result]:
    """Return the three proofs' results, in order."""
    return of_proof(asked, proof, basis=NOW)


def inspected(asked: Asked = ASKED, **changes: object) -> dict[str, Result]:
    """Return the other three's results by name, of an inspection with these parts changed."""
    found = dataclasses.replace(INSPECTION, **changes)
    return {result.name: result for result in of_inspection(asked, found, moved=False)}


def foreign_keys(**fields: object) -> Result:
    """Return the result of one foreign key of which this is known."""
    check = dataclasses.replace(INSPECTION.foreign_keys[0], **fields)
    return inspected(foreign_keys=(check,))[FOREIGN_KEYS]


def test_what_is_equal_is_said_in_one_sentence_each() -> None:
    """Counts on both sides, what was digested, and nothing to do."""
    results = [*proofs(PROOF), *inspected().values()]
    assert [result.sentence for result in results] == [
        "7,412 rows in the cut = 7,410 on the target + 2 in quarantine",
        "the digests of 7,410 rows are equal on both sides",
        "2 rows of the cut don't fit, 2 are in quarantine: the same rows",
        "1,000 changed and 998 sampled rows read back: every value as the cut has it",
        (
            "12 columns and 3 keys and indexes stand as the mapping made them;"
            " the cut of 2026-10-04 has its columns"
        ),
        "1 foreign key: every row has its parent, in the cut and on the target",
    ]
    assert tuple(result.name for result in results) == CHECKS
    assert all(result.passed and result.to_do == "nothing" for result in results)
    assert all(result.texts["head_week"] == "2026-10-04" for result in results)


def test_numbers_are_whole_so_that_they_plot() -> None:
    """Both sides of every comparison; a digest is text, as nobody plots it."""
    count, digest, quarantine = proofs(PROOF)
    assert count.numbers == {
        "source_rows": 7412,
        "target_rows": 7410,
        "quarantined_rows": 2,
        "exceptions": 0,
    }
    assert digest.numbers["source_rows_digested"] == digest.numbers["target_rows_digested"] == 7410
    assert digest.texts["source_digest"] == digest.texts["target_digest"] == "000000000000000a"
    assert quarantine.numbers["unfit_rows_in_cut"] == 2
    found = inspected()
    assert found[ROUND_TRIP].numbers == {
        "changed_rows_read": 1000,
        "sampled_rows_read": 998,
        "differing_rows": 0,
    }
    assert found[SCHEMA].numbers == {
        "columns": 12,
        "indexes": 3,
        "differing_objects": 0,
        "rows_against_later_constraints": 0,
        "pending_changes": 0,
    }
    assert set(found[FOREIGN_KEYS].numbers.values()) == {0, 1}


def test_a_difference_is_named_with_the_command_that_mends_it() -> None:
    """A repair puts the source's rows back; every other way is named."""
    differing = dataclasses.replace(
        PROOF,
        target_rows=7409,
        target_total=5,
        rows_equal=False,
        digest_equal=False,
        differences=(Difference(key="id=7", what="missing on the target"),),
    )
    count, digest, quarantine = proofs(differing)
    assert count.sentence == "7,412 rows in the cut ≠ 7,409 on the target + 2 in quarantine"
    assert "7,410 rows of the cut is not that of 7,409 rows on the target" in digest.sentence
    for result in (count, digest):
        assert not result.passed
        assert result.lines == ("id=7: missing on the target",)
        assert "repair orders --keep-target" in result.to_do
        assert "`migration-assets repair orders`" in result.to_do
    assert quarantine.passed
    assert quarantine.lines == ()


def test_other_rows_in_the_same_number_are_no_pass() -> None:
    """Equal sums of counts don't hide that the buckets differ."""
    count = proofs(dataclasses.replace(PROOF, rows_equal=False))[0]
    assert not count.passed
    assert count.sentence.endswith("in quarantine, but they are not the same rows")


def test_keys_stay_out_where_they_are_not_to_be_shown() -> None:
    """`show_keys: false` holds for every check's lines."""
    hidden = dataclasses.replace(ASKED, show_keys=False)
    difference = Difference(key="id=7", what="differs", columns=("amount",))
    differing = dataclasses.replace(PROOF, digest_equal=False, differences=(difference,))
    read_back = dataclasses.replace(INSPECTION.round_trip, differences=(difference,))
    shown = [
        *proofs(differing, hidden)[1].lines,
        *inspected(hidden, round_trip=read_back)[ROUND_TRIP].lines,
    ]
    assert shown == ["differs (amount)", "differs (amount)"]


def test_rows_against_a_constraint_of_the_cutover_are_named_and_nothing_is_red() -> None:
    """They are the source's, and there is time until the cutover."""
    violations = (
        Violation(constraint="length code (code VARCHAR(3))", rows=1200),
        Violation(constraint="check t_check1 (own(a))", rows=None),
    )
    schema = dataclasses.replace(INSPECTION.schema, violations=violations)
    result = inspected(schema=schema)[SCHEMA]
    assert result.passed
    assert result.numbers["rows_against_later_constraints"] == 1200
    assert result.lines == (
        "before the cutover: length code (code VARCHAR(3)): 1,200 rows at the source violate it",
        "before the cutover: check t_check1 (own(a)): the rows that violate it can't be counted",
    )


def test_lines_are_bounded_and_say_how_many_are_left_out() -> None:
    """Three hundred missing indexes don't fill the page."""
    findings = tuple(Finding(what=f"index i{n} is gone", to_do=f"CREATE {n}") for n in range(300))
    schema = dataclasses.replace(INSPECTION.schema, findings=findings)
    result = inspected(schema=schema)[SCHEMA]
    assert result.lines[0] == "index i0 is gone; to do: CREATE 0"
    assert len(result.lines) == 21
    assert result.lines[-1] == "and 280 more"
    assert result.numbers["differing_objects"] == 300
    assert len(result.to_do.split("; ")) == 20


def test_a_covered_week_says_by_which_head_and_when_it_was_read() -> None:
    """The proof is the one stored in the ledger; the light checks are made anew."""
    covered = dataclasses.replace(PROOF, week=NEXT)
    stored = of_proof(ASKED, covered, basis=STORED)
    light = inspected(week=NEXT, round_trip=dataclasses.replace(INSPECTION.round_trip, week=NEXT))
    for result in (*stored, *light.values()):
        assert result.sentence.endswith("; week 2026-10-04 is covered by the head at 2026-10-11")
        assert result.texts["head_week"] == "2026-10-11"
    assert {result.texts["basis"] for result in stored} == {STORED}
    assert {result.texts["basis"] for result in light.values()} == {NOW}


def test_rows_read_back_inside_the_step_say_so() -> None:
    """The two others were read after it."""
    found = {r.name: r.texts["basis"] for r in of_inspection(ASKED, INSPECTION, moved=True)}
    assert found == {ROUND_TRIP: MOVED, SCHEMA: NOW, FOREIGN_KEYS: NOW}


def test_a_stopped_step_shows_its_error_in_the_same_form_at_every_check() -> None:
    """What happened, where, what was expected, and the command to go on with."""
    error = ProofError(what="not equal", where="table orders", expected="equal", hint="mend it")
    results = of_error(ASKED, error)
    assert tuple(result.name for result in results) == CHECKS
    for result in results:
        assert not result.passed
        assert result.sentence == "not equal"
        assert dict(result.texts) == {
            "error": "ProofError",
            "what": "not equal",
            "where": "table orders",
            "expected": "equal",
        }
        assert result.to_do == (
            "mend it. Command: migration-assets run --week 2026-10-04 --table orders"
        )


@pytest.mark.parametrize("guard", ["quarantine_limit", "foreign_writes"])
def test_a_guards_command_names_the_guard(guard: str) -> None:
    """It can be copied as it stands."""
    error = GuardError(what="too many", hint=f"mend the source, or `--acknowledge {guard}` to go")
    assert of_error(ASKED, error)[0].to_do.endswith(
        f"Command: migration-assets run --week 2026-10-04 --table orders --acknowledge {guard}"
    )


def test_a_command_quotes_a_hostile_name_for_the_shell() -> None:
    """A copied command does what it says, whatever a table is called."""
    asked = dataclasses.replace(ASKED, table="order lines; rm -rf ~")
    command = of_error(asked, StateError(what="gone"))[0].to_do
    assert command == "migration-assets run --week 2026-10-04 --table 'order lines; rm -rf ~'"


def test_a_table_without_foreign_keys_passes_and_says_so() -> None:
    """Nothing could be wrong with them."""
    result = inspected(foreign_keys=())[FOREIGN_KEYS]
    assert result.passed
    assert result.sentence == "the table has no foreign keys"


def test_orphans_of_the_source_are_told_from_parents_in_quarantine() -> None:
    """One is mended by the application's people, the other at the parent's own check."""
    source = foreign_keys(source_orphans=3, target_orphans=3, withheld=0)
    assert not source.passed
    assert "rows without a parent: 3 in the cut, 3 on the target" in source.lines[0]
    assert source.to_do.startswith("mend the rows at the source")
    withheld = foreign_keys(target_orphans=4, withheld=4)
    assert not withheld.passed
    assert "4 on the target (4 of them since their parent was not carried)" in withheld.lines[0]
    assert "quarantine" in withheld.to_do
    assert withheld.numbers["rows_whose_parent_is_not_on_target"] == 4


def test_a_key_that_can_not_be_created_says_why() -> None:
    """Types that differ are found weeks before the cutover."""
    result = foreign_keys(obstacle="types differ: customer text, customers.id bigint")
    assert not result.passed
    assert "(customer) → customers (id): can't be created: types differ" in result.sentence
    assert result.numbers["keys_that_cannot_be_created"] == 1


def test_a_parent_that_lags_behind_is_no_failure_and_said() -> None:
    """Tables of a week move one by one: rows whose parent is still to come are no orphans."""
    lagging = foreign_keys(target_orphans=2, withheld=2, pending="customers stands at 2026-09-27")
    assert lagging.passed
    assert "customers stands at 2026-09-27" in lagging.sentence
    assert lagging.to_do.endswith("migration-assets verify --table orders")
    orphan = foreign_keys(target_orphans=3, withheld=2, pending="customers stands at 2026-09-27")
    assert not orphan.passed


def test_a_key_that_sqlite_can_not_count_is_no_pass() -> None:
    """What was not counted must not look green."""
    result = foreign_keys(source_orphans=None, target_orphans=None, withheld=None)
    assert not result.passed
    assert "not counted in the cut" in result.lines[0]
