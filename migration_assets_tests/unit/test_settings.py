"""Settings: a wrong one is named with an example, and no secret gets out."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from migration_assets.errors import SettingsError
from migration_assets.settings import _EXAMPLES, ENVIRONMENT, Settings, load
from migration_assets.target.connection import target_of

SECRET = "hunter2-not-to-be-seen"  # noqa: S105 - of no server
URL = f"postgresql://loader:{SECRET}@db.example.com:5432/app"
GOOD = f"source: app.sqlite\ntarget: {URL}\n"
NOTHING: Mapping[str, str] = {}


def write(folder: Path, text: str) -> Path:
    """Write the settings' file."""
    file = folder / "migration.yaml"
    file.write_text(text)
    return file


def refused(folder: Path, text: str, environment: Mapping[str, str] = NOTHING) -> SettingsError:
    """Return the error for a file; it never shows the secret, nor does its cause."""
    write(folder, text)
    with pytest.raises(SettingsError) as caught:
        load(environment, folder)
    error = caught.value
    assert error.where
    assert error.expected or error.hint
    chain: BaseException | None = error
    while chain is not None:
        assert SECRET not in f"{chain} {chain!r}"
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return error


def test_the_smallest_file_has_defaults_for_all_else(tmp_path: Path) -> None:
    """Source and target are all that has to be said."""
    write(tmp_path, GOOD)
    settings = load(NOTHING, tmp_path)
    assert (settings.source, settings.target) == (tmp_path / "app.sqlite", URL)
    assert (settings.state, settings.weeks, settings.timezone) == (
        tmp_path / ".migration",
        26,
        "UTC",
    )
    assert (settings.include, settings.exclude, settings.first_week) == (("*",), (), None)
    assert not settings.embedded


def test_every_setting_has_an_example_that_is_right(tmp_path: Path) -> None:
    """What an error recommends can be written into the file as it stands."""
    assert set(_EXAMPLES) == set(Settings.model_fields) - {"source_name"}
    write(tmp_path, "\n".join(_EXAMPLES.values()))
    settings = load(NOTHING, tmp_path)
    assert settings.first_week == date(2026, 10, 4)
    assert settings.exclude == ("tmp_*",)


WRONG = [
    ("weeks", "0"),
    ("weeks", "521"),
    ("weeks", "many"),
    ("weeks", "2.5"),
    ("first_week", "soon"),
    ("timezone", "Europe/Nowhere"),
    ("timezone", "../../etc/passwd"),
    ("timezone", "''"),
    ("timezone", "America"),
    ("cron", "daily"),
    ("cron", '"0 2 * *"'),
    ("cron", '"60 2 * * 0"'),
    ("cron", '"0 2 30 2 *"'),
    ("first_week", "20261004"),
    ("first_week", "2026-10-04 02:00:00"),
    ("first_week", '"2026-W40-7"'),
    ("include", "orders"),
    ("exclude", "5"),
    ("source", "5"),
    ("state", "[a]"),
    ("target", "5"),
    ("target_schema", "''"),
    ("target_schema", "s" * 64),
    ("source_name", "other"),
    ("quarantine_rows", "-1"),
    ("quarantine_share", "1.5"),
    ("quarantine_share", ".nan"),
    ("show_keys", "perhaps"),
    ("connect_patience", "-1"),
    ("connect_patience", ".nan"),
    ("lock_timeout", "0"),
    ("lock_timeout", ".inf"),
    ("source_timeout", "0"),
    ("source_timeout", "long"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_named_with_an_example(tmp_path: Path, name: str, value: str) -> None:
    """The file's line, the setting, what is wrong, and a line that would be right."""
    lines = {"source": "app.sqlite", "target": URL} | {name: value}
    error = refused(tmp_path, "\n".join(f"{k}: {v}" for k, v in lines.items()))
    assert f"`{name}` is wrong: " in error.what
    assert error.where == f"{tmp_path / 'migration.yaml'}, line {[*lines].index(name) + 1}"
    assert error.expected == f"for example `{_EXAMPLES.get(name, name)}`"


@pytest.mark.parametrize(
    ("name", "meant"), [("weaks", "weeks"), ("sorce", "source"), ("time_zone", "timezone")]
)
def test_a_misspelt_setting_suggests_the_one_meant(tmp_path: Path, name: str, meant: str) -> None:
    """Nothing unknown is passed over."""
    error = refused(tmp_path, f"{GOOD}{name}: 5\n")
    assert error.what == f"`{name}` is no setting"
    assert error.where.endswith("migration.yaml, line 3")
    assert error.hint == f"did you mean `{meant}`?"


def test_an_unknown_setting_lists_all_there_are(tmp_path: Path) -> None:
    """Where nothing is close, the list helps."""
    error = refused(tmp_path, f"{GOOD}xyzzy: {SECRET}\n")
    assert all(name in error.expected for name in _EXAMPLES)


@pytest.mark.parametrize("name", ["source", "target"])
def test_a_missing_setting_says_where_it_can_be_set(tmp_path: Path, name: str) -> None:
    """In the file or in the environment."""
    other = next(line for line in GOOD.splitlines() if not line.startswith(name))
    error = refused(tmp_path, other)
    assert f"`{name}` is not set" in error.what
    assert f"MIGRATION_{name.upper()}" in error.expected


def test_without_file_and_environment_the_error_still_helps(tmp_path: Path) -> None:
    """The first thing that a new user sees."""
    with pytest.raises(
        SettingsError, match=r"environment: `source` is not set[\s\S]*migration.yaml"
    ):
        load(NOTHING, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f"source: [unclosed\ntarget: {URL}\n",
        f"{URL}\n",
        f"- {URL}\n",
        f'target: "{URL}\n',
        f"a: b: {URL}",
        f"target: {URL}\n\x00",
        f"source: !!python/object:os.system {SECRET}",
    ],
)
def test_a_file_that_is_no_list_of_settings_is_refused(tmp_path: Path, text: str) -> None:
    """Its place is named, its content is not repeated."""
    error = refused(tmp_path, text)
    assert "migration.yaml" in error.where
    assert "source: /var/lib/app/app.sqlite" in error.expected


def test_a_wrong_item_of_a_list_is_named_by_its_own_line(tmp_path: Path) -> None:
    """In a list of fifty patterns the list's own line would not help."""
    error = refused(tmp_path, f"{GOOD}\nexclude:\n  - tmp_*\n  - 5\n")
    assert error.where.endswith("migration.yaml, line 6")


def test_a_setting_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    """YAML would take the second without a word; both lines are named."""
    error = refused(tmp_path, f"{GOOD}weeks: 5\n\nweeks: 6\n")
    assert error.what == "`weeks` stands there twice, in line 3 already"
    assert error.where.endswith("migration.yaml, line 5")


def test_a_wrong_value_of_the_environment_is_named_by_its_variable(tmp_path: Path) -> None:
    """The file may hold a line for it that is right, and isn't the one to mend."""
    error = refused(
        tmp_path, f"{GOOD}first_week: 2026-10-04\n", {"MIGRATION_FIRST_WEEK": "next week"}
    )
    assert error.where == "environment variable MIGRATION_FIRST_WEEK"
    assert "it is not a date" in error.what


def test_merged_settings_are_no_duplicates(tmp_path: Path) -> None:
    """YAML's own way to share lines goes on working."""
    write(tmp_path, f"<<: {{weeks: 5, cron: '0 3 * * 0'}}\n{GOOD}weeks: 7\n")
    settings = load(NOTHING, tmp_path)
    assert (settings.weeks, settings.cron) == (7, "0 3 * * 0")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """UTF-8 and nothing else."""
    (tmp_path / "migration.yaml").write_bytes(b"source: \xe4pp.sqlite\n")
    with pytest.raises(SettingsError, match=r"migration\.yaml: not UTF-8"):
        load(NOTHING, tmp_path)


def test_a_date_that_is_not_in_the_calendar_is_refused(tmp_path: Path) -> None:
    """YAML reads dates by itself, and stops at this one."""
    error = refused(tmp_path, f"{GOOD}first_week: 2026-02-30\n")
    assert "not in the calendar" in error.what
    assert error.where.endswith("migration.yaml, line 3")
    assert "first_week: 2026-10-04" in error.expected


def test_an_empty_file_is_a_file_without_settings(tmp_path: Path) -> None:
    """The environment may say it all."""
    write(tmp_path, "# nothing yet\n")
    settings = load({"MIGRATION_SOURCE": "a.sqlite", "MIGRATION_TARGET": "embedded"}, tmp_path)
    assert settings.embedded


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Every variable, and an empty one is none."""
    write(tmp_path, GOOD + "state: a\nfirst_week: 2026-10-04\n")
    values = {
        "MIGRATION_SOURCE": "/elsewhere/b.sqlite",
        "MIGRATION_TARGET": "embedded",
        "MIGRATION_STATE": "/elsewhere/state",
        "MIGRATION_FIRST_WEEK": "2026-11-01",
    }
    assert set(values) == set(ENVIRONMENT)
    settings = load(values, tmp_path)
    assert settings.source == Path("/elsewhere/b.sqlite")
    assert settings.state == Path("/elsewhere/state")
    assert settings.first_week == date(2026, 11, 1)
    assert settings.embedded
    assert load(dict.fromkeys(values, ""), tmp_path).target == URL


def test_the_target_may_come_from_a_variable_of_any_name(tmp_path: Path) -> None:
    """So that the file need not hold the password."""
    write(tmp_path, "source: app.sqlite\ntarget: env:LOADER_URL\n")
    assert load({"LOADER_URL": URL}, tmp_path).target == URL
    assert load({"LOADER_URL": URL, "MIGRATION_TARGET": "env:LOADER_URL"}, tmp_path).target == URL


@pytest.mark.parametrize("environment", [{}, {"LOADER_URL": ""}])
def test_a_variable_that_is_not_set_is_named(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """With the command that sets it."""
    error = refused(tmp_path, "source: app.sqlite\ntarget: env:LOADER_URL\n", environment)
    assert "LOADER_URL" in error.what
    assert error.where.endswith("migration.yaml, line 2")
    assert error.hint.startswith("export LOADER_URL=")


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    """Whatever folder a command is run in; an absolute path stays."""
    (tmp_path / "etc").mkdir()
    file = write(tmp_path / "etc", "source: ../app.sqlite\ntarget: embedded\nstate: here\n")
    settings = load({"MIGRATION_CONFIG": str(file)}, tmp_path / "elsewhere")
    assert settings.source == tmp_path / "etc" / "../app.sqlite"
    assert settings.state == tmp_path / "etc" / "here"
    write(tmp_path, "source: /srv/app.sqlite\ntarget: embedded\n")
    assert load(NOTHING, tmp_path).source == Path("/srv/app.sqlite")


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """The variable was meant; nothing else is taken in its place."""
    write(tmp_path, GOOD)
    with pytest.raises(SettingsError, match=r"gone\.yaml: can't be read[\s\S]*MIGRATION_CONFIG"):
        load({"MIGRATION_CONFIG": str(tmp_path / "gone.yaml")}, tmp_path)


def test_no_secret_is_shown_by_settings_or_target(tmp_path: Path) -> None:
    """Neither in repr nor in str, nor in the name for people."""
    write(tmp_path, GOOD)
    settings = load(NOTHING, tmp_path)
    target = target_of(settings)
    assert target.url == URL
    for text in (repr(settings), str(settings), repr(target), str(target), target.name):
        assert SECRET not in text
    assert target.name == "db.example.com/app"


def test_the_target_takes_its_settings_along(tmp_path: Path) -> None:
    """Schema, patience and timeout; another URL where the target is embedded."""
    write(tmp_path, "source: a\ntarget: embedded\ntarget_schema: app\nlock_timeout: 7\n")
    target = target_of(load(NOTHING, tmp_path), "postgresql://localhost/x")
    assert (target.schema, target.lock_timeout, target.patience) == ("app", 7.0, 90.0)
    assert target.url == "postgresql://localhost/x"


@pytest.mark.parametrize(("rows", "limit"), [(0, 10), (999, 10), (1_000, 10), (5_000, 50)])
def test_the_quarantine_limit_is_the_larger_of_rows_and_share(rows: int, limit: int) -> None:
    """Ten rows, or one in a hundred."""
    assert Settings(source=Path("a"), target="embedded").quarantine_limit(rows) == limit


@pytest.mark.parametrize(
    "owners",
    [
        '["team:"]',
        '["data"]',
        '["a@b"]',
        '["team:data", "somebody"]',
        '["a b@example.com"]',
        '[""]',
    ],
)
def test_an_owner_is_a_team_or_an_address(tmp_path: Path, owners: str) -> None:
    """Dagster would refuse the definitions; the entry is named by place, as it may be private."""
    error = refused(tmp_path, f"{GOOD}owners: {owners}\n")
    assert "`owners` is wrong" in error.what
    assert "neither a team (`team:data`) nor an e-mail address" in error.what
    assert f"entry {owners.count(',') + 1}" in error.what
    assert error.expected == 'for example `owners: ["team:data"]`'


def test_teams_and_addresses_are_owners(tmp_path: Path) -> None:
    """Several, in the order given."""
    write(tmp_path, GOOD + 'owners: ["team:data", "team:on call", "ada@example.com"]\n')
    assert load({}, tmp_path).owners == ("team:data", "team:on call", "ada@example.com")
