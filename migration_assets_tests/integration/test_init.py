"""The settings file to start from: complete, loads again, holds no password, overwrites nothing."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import conninfo

from migration_assets import settings_file
from migration_assets.errors import SettingsError, SourceError
from migration_assets.report.settings_text import MEANINGS, render
from migration_assets.scaffold import Scaffold, look, write
from migration_assets.settings import Settings, load

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY);
CREATE TABLE tmp_import (a);
CREATE TABLE "orders[old]" (a);
CREATE TABLE temperature (a);
"""
NOTHING: Mapping[str, str] = {}
SECRET = "s3cret/x"  # noqa: S105 - of no server
SETTING = re.compile(r"^# (\w+: .*)$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a source in it."""
    with closing(sqlite3.connect(tmp_path / "app.sqlite")) as connection:
        connection.executescript(SCHEMA)
    return tmp_path


def made(folder: Path, **fields: object) -> Scaffold:
    """Look at the source and write the settings."""
    found = look({"source": "app.sqlite", **fields}, NOTHING, folder, patience=0)
    write(folder / "migration.yaml", found.text, force=True)
    return found


def test_every_setting_stands_there_with_its_meaning(folder: Path) -> None:
    """A setting that is added has to be explained here too, in the order of the settings."""
    assert set(MEANINGS) == set(Settings.model_fields)
    lines = made(folder).text.splitlines()
    names = [re.match(r"(?:# )?(\w+):(?: |$)", line) for line in lines]
    assert [n[1] for n in names if n] == list(Settings.model_fields)
    for number, line in enumerate(lines):
        if re.match(r"(# )?\w+:( |$)", line):
            assert lines[number - 1].startswith("# ")


def test_what_is_written_loads_again(folder: Path) -> None:
    """With what was named, and the defaults for all else."""
    made(folder, target="postgresql://loader@db/app", first_week="2026-10-04", weeks=8, state="s")
    settings = load(NOTHING, folder)
    assert settings == Settings(
        source=folder / "app.sqlite",
        target="postgresql://loader@db/app",
        first_week=date(2026, 10, 4),
        weeks=8,
        state=folder / "s",
    )


def test_the_commented_lines_are_the_defaults(folder: Path) -> None:
    """Each one can be uncommented as it stands."""
    text = render({"source": "app.sqlite", "target": "embedded"})
    (folder / "migration.yaml").write_text(SETTING.sub(r"\1", text), "utf-8")
    settings = load(NOTHING, folder)
    assert settings.model_fields_set == set(Settings.model_fields)
    plain = Settings(source=folder / "app.sqlite", target="embedded", state=folder / ".migration")
    shown = {
        "first_week": date(2026, 10, 4),
        "aurora_cluster": "app-cluster",
        "aws_region": "eu-central-1",
    }
    assert settings == plain.model_copy(update=shown)


@given(st.text(min_size=1).filter(lambda text: text.isprintable() or text.isascii()))
def test_any_text_is_written_so_that_it_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Paths and schemas hold what YAML takes for its own."""
    file = tmp_path_factory.mktemp("round") / "migration.yaml"
    file.write_text(render({"source": text, "target": text}, [(text, "why")]), "utf-8")
    found = settings_file.read(file)
    assert found.values == {"source": text, "target": text}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://loader:s3cret%2Fx@db.example.com:5432/app?sslmode=prefer",
        "postgresql://loader@db.example.com:5432/app?password=s3cret%2Fx&sslmode=prefer",
        "host=db.example.com port=5432 user=loader password=s3cret/x dbname=app sslmode=prefer",
    ],
)
def test_a_password_is_not_written_and_all_else_of_the_url_is(folder: Path, url: str) -> None:
    """Wherever in the URL it stands; the way to hand it over is said."""
    found = made(folder, target=url.replace("db.example.com", "127.0.0.1").replace("5432", "1"))
    assert "PGPASSWORD" in " ".join(found.hints)
    for text in (found.text, *found.found, *found.hints):
        assert "s3cret" not in text
    assert conninfo.conninfo_to_dict(load(NOTHING, folder).target) == {
        "host": "127.0.0.1",
        "port": "1",
        "user": "loader",
        "dbname": "app",
        "sslmode": "prefer",
    }


def test_another_secret_in_the_url_is_refused(folder: Path) -> None:
    """It has no variable of its own; the whole URL belongs into one."""
    with pytest.raises(SettingsError, match="env:NAME") as caught:
        made(folder, target=f"postgresql://db/app?sslpassword={SECRET.replace('/', '%2F')}")
    assert SECRET not in str(caught.value)
    assert not (folder / "migration.yaml").exists()


def test_a_target_in_a_variable_stays_there(folder: Path, target_url: str) -> None:
    """It is looked at, and only the variable's name is written."""
    found = look({"source": "app.sqlite", "target": "env:URL"}, {"URL": target_url}, folder)
    assert any("PostgreSQL 18" in line and "without TLS" in line for line in found.found)
    assert "target: env:URL" in found.text
    assert target_url not in found.text


def test_a_target_that_does_not_answer_is_said(folder: Path) -> None:
    """The file is written all the same: it may come to be later."""
    found = made(folder, target="postgresql://127.0.0.1:1/nowhere")
    assert any("did not answer" in line for line in found.found)
    assert load(NOTHING, folder).target == "postgresql://127.0.0.1:1/nowhere"


def test_tables_that_look_temporary_are_suggested_not_left_out(folder: Path) -> None:
    """Only a person leaves a table out; uncommented, just those two are."""
    found = made(folder)
    assert load(NOTHING, folder).exclude == ()
    assert any("2 tables" in hint for hint in found.hints)
    text = re.sub(r"^# (exclude:$)|^#(   - )", r"\1\2", found.text, flags=re.MULTILINE)
    (folder / "migration.yaml").write_text(text, "utf-8")
    assert load(NOTHING, folder).exclude == ("orders[[]old]", "tmp_import")


def test_a_table_that_cannot_be_carried_is_suggested_with_the_reason(folder: Path) -> None:
    """Else its partition would be red for ever."""
    with closing(sqlite3.connect(folder / "app.sqlite")) as connection:
        connection.execute(f"CREATE TABLE wide ({', '.join(f'c{i}' for i in range(1700))})")
    assert '#   - "wide"  # can\'t be carried: 1700 columns' in made(folder).text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"first_week": "soon"}, "option --first-week"),
        ({"weeks": 0}, "option --weeks"),
        ({"timezone": "Mars/Olympus"}, "option --timezone"),
        ({"target_schema": ""}, "option --target-schema"),
        ({"target": "no url"}, "target"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_written(
    folder: Path, fields: Mapping[str, object], named: str
) -> None:
    """A file that doesn't load would be worse than none."""
    with pytest.raises(SettingsError) as caught:
        made(folder, **fields)
    assert caught.value.where == named
    assert not (folder / "migration.yaml").exists()


def test_a_source_that_cannot_be_read_is_named_and_nothing_written(folder: Path) -> None:
    """The first thing that may be mistyped."""
    with pytest.raises(SourceError, match="there is no such file"):
        made(folder, source="elsewhere.sqlite")
    assert [file.name for file in folder.iterdir()] == ["app.sqlite"]


def test_an_existing_file_is_never_overwritten(folder: Path) -> None:
    """Somebody's settings; nothing half-written stays beside it."""
    file = folder / "migration.yaml"
    file.write_text("mine", "utf-8")
    with pytest.raises(SettingsError, match="--force"):
        write(file, "new", force=False)
    assert file.read_text("utf-8") == "mine"
    assert len(list(folder.iterdir())) == 2


def test_force_keeps_what_was_there(folder: Path) -> None:
    """Twice, too: a backup is never overwritten either."""
    file = folder / "migration.yaml"
    assert write(file, "first", force=True) is None
    assert write(file, "second", force=True) == folder / "migration.yaml.backup"
    assert write(file, "third", force=True) == folder / "migration.yaml.backup-2"
    texts = [f.read_text("utf-8") for f in sorted(folder.glob("migration*"))]
    assert texts == ["third", "first", "second"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(SettingsError, match="can't be written"):
        write(tmp_path / "gone" / "migration.yaml", "text", force=False)
