"""The command line: what it prints, its exit codes, and that plain cron can run it."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from migration_assets.guards import GUARDS
from migration_assets.target.embedded import (
    FAST,
    EmbeddedServer,
    ensure_database,
    remove,
    running,
    start,
)
from migration_assets.target.guarding import EVERY_GUARD
from migration_assets_tests import command, independent
from migration_assets_tests.fixtures_postgres import new_folder

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, amount REAL);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO orders VALUES (1, 1, 19.5), (2, 2, 5.25);
"""
WEEK_1, WEEK_2 = "2024-10-06", "2024-10-13"
LAST_OF_5, LAST_OF_26 = "2024-11-03", "2025-03-30"
GOOD, FAILED, MISUSED = 0, 1, 2
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder as a team sets it up: settings, dagster.yaml, the source, and an empty home."""

    folder: Path
    target: str

    @property
    def source(self) -> Path:
        """The application's database."""
        return self.folder / "app" / "app.sqlite"

    @property
    def home(self) -> Path:
        """The home of the user that cron runs as."""
        return self.folder / "home"

    def prepare(self, **settings: object) -> None:
        """Make everything that is there before the first command."""
        for folder in (self.source.parent, self.home):
            folder.mkdir(parents=True)
        shutil.copy(command.ROOT / "dagster.yaml", self.folder)
        self.change(SCHEMA)
        self.configure(source="app/app.sqlite", target="env:APP_TARGET", state="state", **settings)

    def configure(self, **settings: object) -> None:
        """Write settings; those not named stand as they were, the first week in the past."""
        file = self.folder / "migration.yaml"
        stand = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {"first_week": WEEK_1}
        file.write_text(yaml.safe_dump(stand | settings), "utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What a command finds beside PATH: a home and the target's secret."""
        return {"HOME": str(self.home), "APP_TARGET": self.target}

    def run(self, *arguments: str) -> Done:
        """Run a command as cron would, in a process of its own."""
        return command.run(*arguments, folder=self.folder, environment=self.environment)

    def type_in(self, *arguments: str) -> Done:
        """Run a command in this process, which saves it the imports, and in that environment."""
        return command.type_in(*arguments, folder=self.folder, environment=self.environment)

    def change(self, script: str) -> None:
        """Change the source."""
        with closing(sqlite3.connect(self.source)) as connection:
            connection.executescript(script)

    def on_target(self, statement: str) -> list[tuple[object, ...]]:
        """Do on the target as somebody else would; return the rows where there are some."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the commands of two weeks answered, in order, and what stood where after."""

    before_any: dict[str, Done]
    first: Done
    again: Done
    entries: list[object]
    source_untouched: bool
    one_table: Done
    behind: Done
    refused: Done
    red: Done
    meddled: Done
    guarded: Done
    acknowledged: Done
    after: dict[str, Done]
    answered: dict[str, Done]
    equal: bool
    server_running: bool
    left_at_home: list[Path]

    @property
    def answers(self) -> list[Done]:
        """Everything that was run."""
        single = (self.first, self.again, self.one_table, self.behind, self.refused, self.red)
        rest = (self.meddled, self.guarded, self.acknowledged)
        several = (self.before_any, self.after, self.answered)
        return [*single, *rest, *(done for named in several for done in named.values())]


@pytest.fixture(scope="module")
def story(postgres: EmbeddedServer) -> Iterator[Story]:
    """Live through good weeks and bad ones by command line, once for all tests that look at them.

    The target is a database of the tests' server; Dagster's storage is the embedded one, as it is
    where nobody set up anything else.
    """
    ensure_database(postgres, "test_cli")
    site = Site(folder=new_folder(), target=postgres.url("test_cli"))
    try:
        site.prepare(weeks=5)
        yield _live(site)
    finally:
        remove(site.folder / "state" / "postgres")
        shutil.rmtree(site.folder, ignore_errors=True)
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE test_cli WITH (FORCE)")


def _live(site: Site) -> Story:
    before_any = {name: site.type_in(name) for name in ("plan", "doctor", "status", "verify")}
    answered: dict[str, Done] = {}

    def answer(name: str, *arguments: str) -> None:
        answered[name] = site.type_in(*arguments, "--json")

    source = site.source.read_bytes()
    first = site.run("run", "--week", WEEK_1)
    entries: list[object] = [site.on_target("SELECT count(*) FROM migration.ledger")]
    again = site.run("run", "--week", WEEK_1)
    entries.append(site.on_target("SELECT count(*) FROM migration.ledger"))
    untouched = site.source.read_bytes() == source and len(list(site.source.parent.iterdir())) == 1
    server_running = running(site.folder / "state" / "postgres")
    start(site.folder / "state" / "postgres", options=FAST)  # spares those below to start it
    site.change("INSERT INTO customers VALUES (3, 'Cyd'); INSERT INTO orders VALUES (3, 3, -4);")
    one_table = site.type_in("run", "--week", WEEK_2, "--table", "customers")
    behind = site.type_in("status")
    answer("stands", "verify", "--week", WEEK_1)
    answer("lags", "verify", "--week", WEEK_2)
    lags = site.type_in("verify", "--week", WEEK_2)
    site.on_target("ALTER TABLE public.orders ADD CONSTRAINT no_refunds CHECK (amount >= 0)")
    refused = site.type_in("run", "--week", WEEK_2)
    red = site.type_in("status")
    answer("red", "status")
    site.on_target("ALTER TABLE public.orders DROP CONSTRAINT no_refunds")
    site.on_target("UPDATE public.orders SET amount = 77 WHERE id = 2")
    meddled = site.run("verify")
    answer("meddled", "verify", "--table", "orders")
    site.change("CREATE TABLE refunds (id INTEGER PRIMARY KEY); INSERT INTO refunds VALUES (1);")
    answer("guarded", "run")
    guarded = site.type_in("run")
    acknowledged = site.run("run", "--acknowledge", "foreign_writes")
    answer("covered", "run")
    for name in ("plan", "doctor", "status"):
        answer(name, name)
    answered["lags, for people"] = lags
    return Story(
        before_any=before_any,
        first=first,
        again=again,
        entries=entries,
        source_untouched=untouched,
        one_table=one_table,
        behind=behind,
        refused=refused,
        red=red,
        meddled=meddled,
        guarded=guarded,
        acknowledged=acknowledged,
        after={"status": site.run("status"), "verify": site.type_in("verify")},
        answered=answered,
        equal=independent.compare(site.source, site.target).equal,
        server_running=server_running,
        left_at_home=list(site.home.iterdir()),
    )


def line_of(table: str, printed: str) -> str:
    """Return the line of a table in what a command printed."""
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    (line,) = [line for line in rows if line.split("│")[1].strip() == table]
    return line


def test_a_migration_that_never_ran_is_open_and_unproved(story: Story) -> None:
    """Nothing has failed, so status is good; nothing is proved, so verify is not."""
    status, verify = story.before_any["status"], story.before_any["verify"]
    assert (status.returncode, verify.returncode) == (GOOD, FAILED)
    assert "never" in line_of("orders", status.stdout)
    assert "never loaded" in line_of("orders", verify.stdout)


def test_a_good_week_ends_with_0_and_says_so(story: Story) -> None:
    """One line for people; the source is as it was, with nothing beside it."""
    assert story.first.returncode == GOOD, story.first.stderr
    assert f"week {WEEK_1}: proved equal" in story.first.stdout
    assert story.first.stderr == ""
    assert story.source_untouched


def test_a_week_run_again_changes_nothing(story: Story) -> None:
    """The same command from a nervous hand is as good as once."""
    assert story.again.returncode == GOOD
    assert story.entries == [[(2,)], [(2,)]]


def test_one_table_can_be_run_alone(story: Story) -> None:
    """The other one stays where it stood, and status shows it."""
    assert story.one_table.returncode == GOOD, story.one_table.stdout
    assert story.behind.returncode == GOOD
    assert WEEK_2 in line_of("customers", story.behind.stdout)
    assert WEEK_1 in line_of("orders", story.behind.stdout)


def test_a_refused_week_ends_with_1_and_names_table_reason_and_way_out(story: Story) -> None:
    """On-call reads what to do where the failure is."""
    assert story.refused.returncode == FAILED
    for said in ("aurora__orders", "no_refunds", "to do: a CHECK", f"week {WEEK_2}: not complete"):
        assert said in story.refused.stdout


def test_status_ends_with_1_while_a_failure_stands(story: Story) -> None:
    """The reason is repeated below the table."""
    assert story.red.returncode == FAILED
    assert "failed" in line_of("orders", story.red.stdout)
    assert f"orders, week {WEEK_2}" in story.red.stdout
    assert "no_refunds" in story.red.stdout


def test_verify_ends_with_1_and_names_what_somebody_changed(story: Story) -> None:
    """Table, key and column; the other table is equal."""
    assert story.meddled.returncode == FAILED
    assert "differs" in line_of("orders", story.meddled.stdout)
    assert "equal" in line_of("customers", story.meddled.stdout)
    assert "amount" in story.meddled.stdout
    assert "77" not in story.meddled.stdout


def test_a_guard_stops_a_week_until_it_is_acknowledged(story: Story) -> None:
    """The message holds the option to type, and typing it works."""
    assert story.guarded.returncode == FAILED
    assert "--acknowledge foreign_writes" in story.guarded.stdout
    assert story.acknowledged.returncode == GOOD, story.acknowledged.stdout
    assert story.equal


def test_without_a_week_the_last_complete_one_is_run(story: Story) -> None:
    """Cron needs no date arithmetic."""
    assert f"week {LAST_OF_5}: proved equal" in story.acknowledged.stdout


def test_a_mended_migration_is_good_again(story: Story) -> None:
    """Status and verify end with 0; the failure that was mended is gone from status."""
    status, verify = story.after["status"], story.after["verify"]
    assert (status.returncode, verify.returncode) == (GOOD, GOOD), status.stdout + verify.stdout
    assert "no_refunds" not in status.stdout
    assert "equal" in line_of("orders", verify.stdout)


def document(done: Done) -> Any:  # noqa: ANN401 - what a machine makes of it
    """Return what a command answered a machine: standard output holds that and nothing else."""
    return json.loads(done.stdout)


def by_table(done: Done) -> dict[str, Any]:
    """Return a document's tables by name."""
    return {table["table"]: table for table in document(done)["tables"]}


def test_plan_and_doctor_come_before_anything(story: Story) -> None:
    """A newcomer's site is in order, and the plan names its tables; nobody is stopped."""
    for name in ("plan", "doctor"):
        assert story.before_any[name].returncode == GOOD, story.before_any[name].stdout
    assert "customers → public.customers" in story.before_any["plan"].stdout
    assert 'CREATE TABLE "public"."orders"' in story.before_any["plan"].stdout
    assert "problem" not in story.before_any["doctor"].stdout


def test_verify_can_require_a_week(story: Story) -> None:
    """A table that is proved, but at an earlier week, isn't what was asked for."""
    assert story.answered["stands"].returncode == GOOD
    assert document(story.answered["stands"])["equal"]
    lags = story.answered["lags"]
    assert (lags.returncode, document(lags)["equal"]) == (FAILED, False)
    assert by_table(lags)["customers"]["verdict"] == "equal"
    orders = by_table(lags)["orders"]
    assert (orders["verdict"], orders["head"]) == ("not carried", WEEK_1)
    assert orders["digest_equal"]
    said = story.answered["lags, for people"].stdout
    assert f"orders: stands at {WEEK_1}, week {WEEK_2} was not carried" in said


def test_a_table_that_is_new_in_a_cut_is_carried_with_it(story: Story) -> None:
    """The definitions did not have it yet; nothing is left out in silence."""
    guarded = story.answered["guarded"]
    assert document(guarded)["new_tables"] == ["refunds"]
    assert len(document(guarded)["runs"]) == 2
    assert by_table(guarded)["refunds"]["state"] == "loaded"
    assert "refunds" in story.after["verify"].stdout
    assert "second run" not in story.guarded.stdout


def test_run_answers_a_machine(story: Story) -> None:
    """Figures by table, and the reason of what failed; the exit code is the same."""
    guarded, covered = story.answered["guarded"], story.answered["covered"]
    assert (guarded.returncode, document(guarded)["success"]) == (FAILED, False)
    (failure,) = document(guarded)["failures"]
    assert failure["step"] == "aurora__orders"
    assert "--acknowledge foreign_writes" in failure["reason"]
    assert by_table(guarded)["orders"]["state"] == "failed"
    assert (covered.returncode, document(covered)["success"]) == (GOOD, True)
    assert document(covered)["week"] == LAST_OF_5
    assert by_table(covered)["customers"]["rows"] == 3


def test_status_answers_a_machine(story: Story) -> None:
    """Tables by weeks, heads, and the failures that still stand."""
    red = document(story.answered["red"])
    assert story.answered["red"].returncode == FAILED
    assert [(f["table"], f["week"]) for f in red["failures"]] == [("orders", WEEK_2)]
    assert red["weeks"][:2] == [WEEK_1, WEEK_2]
    orders = by_table(story.answered["red"])["orders"]
    assert orders["head"] == WEEK_1
    assert [cell["state"] for cell in orders["weeks"]][:2] == ["loaded", "failed"]
    assert document(story.answered["status"])["proved"]


def test_verify_answers_a_machine(story: Story) -> None:
    """What differs, by key and column, never by value."""
    meddled = by_table(story.answered["meddled"])["orders"]
    assert (meddled["verdict"], meddled["digest_equal"]) == ("differs", False)
    (difference,) = meddled["differences"]
    assert (difference["key"], difference["columns"]) == ("id=2", ["amount"])
    assert "77" not in story.answered["meddled"].stdout


def test_plan_and_doctor_answer_a_machine(story: Story) -> None:
    """The loaded tables are sealed by now; the daemon is still nobody's."""
    tables = by_table(story.answered["plan"])
    assert {table["state"] for table in tables.values()} == {"sealed"}
    assert tables["orders"]["head"] == LAST_OF_5
    assert document(story.answered["plan"])["target"]["answered"]
    checks = {c["name"]: c for c in document(story.answered["doctor"])["checks"]}
    assert document(story.answered["doctor"])["healthy"]
    assert checks["dagster storage"]["condition"] == "ok"


def test_status_shows_the_last_weeks_that_fit(tmp_path: Path, target_url: str) -> None:
    """Half a year of them is more than a line holds: the last ones, readable, and how many."""
    site = Site(folder=tmp_path, target=target_url)
    site.prepare(weeks=26)
    shown = site.type_in("status").stdout
    assert "of 26)" in shown
    assert "03-30" in shown
    assert "10-06" not in shown
    assert "customers" in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_commands_leave_no_server_and_nothing_at_home(story: Story) -> None:
    """The PostgreSQL that a command started is stopped by it; no daemon, no dot-files."""
    assert not story.server_running
    assert story.left_at_home == []


def test_no_command_prints_a_password(story: Story, postgres: EmbeddedServer) -> None:
    """The target's secret is taken from the environment and stays there."""
    for done in story.answers:
        assert postgres.password not in done.stdout + done.stderr


# ------------------------------------------------------------------------------------- misuse


Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose target nobody can reach."""
    site = Site(folder=tmp_path, target="postgresql://nobody:s3cret@127.0.0.1:1/nowhere")
    site.prepare(connect_patience=0)
    return site


@pytest.fixture
def typed(site: Site) -> Typed:
    """Return a function that types a command there and answers its exit code and what it said."""

    def type_in(*arguments: str) -> tuple[int, str]:
        done = site.type_in(*arguments)
        return done.returncode, done.stdout + done.stderr

    return type_in


@pytest.mark.parametrize("week", ["2024-10-07", "2024-09-29", "2025-04-06", "last", "2024-13-01"])
@pytest.mark.parametrize("name", ["run", "verify"])
def test_a_week_that_is_none_is_named_with_those_there_are(
    typed: Typed, name: str, week: str
) -> None:
    """Another weekday, before the first, after the last, no date at all."""
    code, said = typed(name, "--week", week)
    assert code == MISUSED
    assert f"{week} is no complete week of this migration" in said
    assert f"{WEEK_1} … {LAST_OF_26}" in said


def test_a_week_that_is_not_over_is_refused(typed: Typed, site: Site) -> None:
    """Neither by name nor by default."""
    today = datetime.now(UTC).date()
    site.configure(first_week=today - timedelta(days=2))
    assert typed("run")[0] == MISUSED
    code, said = typed("run", "--week", (today - timedelta(days=2)).isoformat())
    assert code == MISUSED
    assert "none is complete yet" in said


@pytest.mark.parametrize("name", ["plan", "run", "verify"])
def test_an_unknown_table_is_named_with_the_closest_one(typed: Typed, name: str) -> None:
    """A slip of the finger costs no search."""
    code, said = typed(name, "--table", "order")
    assert code == MISUSED
    assert "there is no table order" in said
    assert "did you mean orders?" in said


def test_an_unknown_table_unlike_any_other_leads_to_status(typed: Typed) -> None:
    """Where there is nothing close, the names can be seen there."""
    code, said = typed("run", "--table", "zzz")
    assert code == MISUSED
    assert "see `migration-assets status`" in said


def test_a_table_left_out_by_the_settings_is_unknown(typed: Typed, site: Site) -> None:
    """The message says that settings decide."""
    site.configure(exclude=["orders"])
    code, said = typed("run", "--table", "orders")
    assert code == MISUSED
    assert "that the settings don't leave out" in said


def test_an_unknown_guard_is_named_with_those_there_are(typed: Typed) -> None:
    """Nothing runs on a misspelt acknowledgement."""
    code, said = typed("run", "--acknowledge", "quarantine")
    assert code == MISUSED
    assert "quarantine is no guard" in said
    assert ", ".join((*GUARDS, EVERY_GUARD)) in said


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sorce": "app.sqlite"}, "did you mean `source`?"),
        ({"weeks": 0}, "`weeks` is wrong"),
        ({"timezone": "Mars/Olympus"}, "timezone: Europe/Zurich"),
        ({"cron": "0 2 * *"}, "five fields"),
        ({"target": "env:NOBODY_SET_THIS"}, "NOBODY_SET_THIS is not set"),
        ({"target": None}, "`target` is not set"),
        ({"source": None}, "`source` is not set"),
    ],
)
@pytest.mark.parametrize("name", ["plan", "run", "status", "verify"])
def test_a_wrong_setting_is_named_by_every_command(
    typed: Typed, site: Site, name: str, settings: dict[str, object], named: str
) -> None:
    """Exit code 2, one message, an example or the way out."""
    site.configure(**settings)
    code, said = typed(name)
    assert code == MISUSED
    assert named in said
    assert "Traceback" not in said


def test_a_settings_file_that_is_no_yaml_is_named_with_its_line(typed: Typed, site: Site) -> None:
    """The line is where to look."""
    (site.folder / "migration.yaml").write_text("source: [\nweeks: }", "utf-8")
    code, said = typed("status")
    assert code == MISUSED
    assert "migration.yaml, line 2" in said


def test_a_missing_source_is_named(typed: Typed, site: Site) -> None:
    """Not a mistake in what was typed: something has to be done, exit code 1."""
    site.source.unlink()
    code, said = typed("run")
    assert code == FAILED
    assert "app.sqlite: there is no such file" in said
    assert "MIGRATION_SOURCE" in said


def test_a_folder_without_dagster_yaml_is_named(typed: Typed, site: Site) -> None:
    """Dagster would make an instance of its own somewhere else."""
    (site.folder / "dagster.yaml").unlink()
    code, said = typed("run")
    assert code == MISUSED
    assert "there is no dagster.yaml here" in said
    assert "DAGSTER_HOME" in said


@pytest.mark.parametrize("name", ["status", "verify"])
def test_an_unreachable_target_may_pass_by_itself(typed: Typed, name: str) -> None:
    """Host and database are named, the password is not."""
    code, said = typed(name)
    assert code == FAILED
    assert "127.0.0.1/nowhere" in said
    assert "run again" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("url", ["not a url", "postgresql://[", "mysql://root@db/app"])
def test_a_target_that_is_no_url_is_refused_without_repeating_it(
    typed: Typed, site: Site, url: str
) -> None:
    """It may hold a password in the wrong place."""
    site.configure(target=url)
    code, said = typed("status")
    assert code == MISUSED
    assert "the target's URL can't be read" in said
    assert url not in said


def test_an_unknown_command_or_option_is_misuse(typed: Typed) -> None:
    """As everywhere else on the command line."""
    assert typed("rnu")[0] == MISUSED
    assert typed("run", "--weak", WEEK_1)[0] == MISUSED


def test_help_names_every_command(typed: Typed) -> None:
    """Each with a line of its own."""
    code, said = typed("--help")
    assert code == GOOD
    for name in ("init", "doctor", "plan", "run", "status", "verify", "ui", "demo"):
        assert f" {name} " in said
