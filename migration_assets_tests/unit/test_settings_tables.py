"""What `tables` says: names as the source has them, every mistake with its line."""

from pathlib import Path

import pytest

from migration_assets.errors import SettingsError
from migration_assets.model import ColumnOverride, Policy, TableOverride
from migration_assets.settings import Settings, load
from migration_assets.settings_tables import _EXAMPLES, ColumnSettings, TableSettings

SECRET = "hunter2-not-to-be-seen"  # noqa: S105 - of no server


def loaded(folder: Path, text: str) -> Settings:
    """Return the settings of a file that ends with this text; it starts in line 3."""
    (folder / "migration.yaml").write_text(f"source: a\ntarget: embedded\n{text}", "utf-8")
    return load({}, folder)


def refused(folder: Path, text: str) -> SettingsError:
    """Return the error for this text."""
    with pytest.raises(SettingsError) as caught:
        loaded(folder, text)
    assert SECRET not in str(caught.value)
    return caught.value


def test_everything_that_can_be_said_reaches_the_mapping(tmp_path: Path) -> None:
    """Every setting of a table and of a column, in one file."""
    settings = loaded(
        tmp_path,
        """
tables:
  orders:
    target: orders_v2
    key: [shop, id]
    policy: widen
    transform: cleaning.orders:mend
    columns:
      price: {type: "numeric(12,2)", policy: fail, renamed_from: cost}
      placed:
        type: timestamp
        encoding: "YYYY-MM-DDTHH:MM:SS.fff"
      total: {cast: "round(total * 100)"}
""",
    )
    assert settings.override("orders") == TableOverride(
        target="orders_v2",
        key=("shop", "id"),
        policy=Policy.WIDEN,
        transform="cleaning.orders:mend",
        columns={
            "price": ColumnOverride(type="numeric(12,2)", policy=Policy.FAIL, renamed_from="cost"),
            "placed": ColumnOverride(type="timestamp", encoding="YYYY-MM-DDTHH:MM:SS.fff"),
            "total": ColumnOverride(cast="round(total * 100)"),
        },
    )
    assert settings.targets == {"orders": "orders_v2"}


def test_a_table_that_is_not_named_is_left_to_the_census(tmp_path: Path) -> None:
    """And so is one that is named with nothing said of it."""
    settings = loaded(tmp_path, "tables:\n  orders:\n  visits: {columns: {page: }}\n")
    assert settings.override("customers") == TableOverride()
    assert settings.override("orders") == TableOverride()
    assert settings.override("visits").column("page") == ColumnOverride()
    assert loaded(tmp_path, "tables:\n").tables == {}


@pytest.mark.parametrize(
    "name",
    ["on", "yes", "no", "null", "~", "1", "1.0", "0x10", "1e3", "2026-10-04", ".inf", "true", "=",
     "äöü", "数", "a b", "\U0001f600"],
)  # fmt: skip
def test_a_name_is_what_stands_there(tmp_path: Path, name: str) -> None:
    """YAML would read truths, numbers, days and nothing at all from these."""
    text = f"tables:\n  {name}:\n    key: [{name}]\n    columns:\n      {name}: {{policy: fail}}\n"
    found = loaded(tmp_path, f"{text}  other: {{target: {name}}}\n").overrides
    assert found[name].key == (name,)
    assert found[name].columns == {name: ColumnOverride(policy=Policy.FAIL)}
    assert found["other"].target == name


def test_each_part_knows_its_line(tmp_path: Path) -> None:
    """So that an error that comes later can name it."""
    override = loaded(
        tmp_path, "tables:\n  o:\n    key:\n      - a\n    columns:\n      a:\n        cast: a\n"
    ).override("o")
    file = tmp_path / "migration.yaml"
    assert override.where() == f"{file}, line 4"
    assert override.where("key") == f"{file}, line 5"
    assert override.where("policy") == f"{file}, line 4"
    assert override.columns["a"].where() == f"{file}, line 8"
    assert override.columns["a"].where("cast") == f"{file}, line 9"
    assert TableOverride().where("key") == "settings"


def test_lines_that_are_shared_count_for_both(tmp_path: Path) -> None:
    """YAML's own ways to say a thing once; what stands in the table itself wins."""
    found = loaded(
        tmp_path,
        "tables:\n  a: &x {policy: fail, key: [id]}\n  b: *x\n  c:\n    <<: *x\n    key: [k]\n",
    ).overrides
    assert found["b"] == found["a"]
    assert found["c"] == TableOverride(policy=Policy.FAIL, key=("k",))


WRONG = [
    ("orders: {colums: {}}", "orders.colums", "is no setting of a table"),
    ("orders: {type: text}", "orders.type", "is no setting of a table"),
    ("orders: {columns: {a: {typ: text}}}", "orders.columns.a.typ", "is no setting of a column"),
    ("orders: {columns: {a: {key: [b]}}}", "orders.columns.a.key", "is no setting of a column"),
    ("orders: {columns: {columns: {x: y}}}", "orders.columns.columns.x", "of a column"),
    ("orders: 5", "orders", "settings are expected below it"),
    ("orders: [a]", "orders", "settings are expected below it"),
    ("orders: {columns: [a]}", "orders.columns", "settings are expected below it"),
    ("orders: {columns: {a: bigint}}", "orders.columns.a", "settings are expected below it"),
    ("orders: {key: id}", "orders.key", "it is not a list"),
    ("orders: {key: [[id]]}", "orders.key.0", "it is not a text"),
    ("orders: {key: [a, b, a]}", "orders.key", "a stands there twice"),
    ("orders: {key: }", "orders.key", "nothing stands behind it"),
    ("orders: {policy: ignore}", "orders.policy", "it is not one of quarantine, widen, fail"),
    (f"orders: {{policy: {SECRET}}}", "orders.policy", "it is not one of"),
    ("orders: {target: ''}", "orders.target", "1 to 63 bytes"),
    (f"orders: {{target: {'x' * 64}}}", "orders.target", "1 to 63 bytes"),
    (f"orders: {{target: {'ä' * 32}}}", "orders.target", "1 to 63 bytes"),
    ("orders: {target: [a]}", "orders.target", "it is not a text"),
    ("orders: {transform: cleaning}", "orders.transform", "it is not module:function"),
    ("orders: {transform: 'a b:c'}", "orders.transform", "it is not module:function"),
    ("orders: {columns: {a: {type: }}}", "orders.columns.a.type", "nothing stands behind it"),
    ("orders: {columns: {a: {type: numbr}}}", "orders.columns.a.type", "numbr"),
    ("orders: {columns: {a: {type: 'numeric(5,9)'}}}", "orders.columns.a.type", "numeric(5,9)"),
    ("orders: {columns: {a: {encoding: julian}}}", "orders.columns.a", "there is none"),
    ("orders: {columns: {a: {type: timestamp, encoding: X}}}", "orders.columns.a.type", "'X'"),
    ("orders: {columns: {a: {policy: drop}}}", "orders.columns.a.policy", "it is not one of"),
    ("orders: {columns: {a: {cast: ''}}}", "orders.columns.a.cast", "at least 1 character"),
]


@pytest.mark.parametrize(("line", "path", "said"), WRONG)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, line: str, path: str, said: str) -> None:
    """The whole path to it, what is wrong, and what would be right."""
    text = f"weeks: 5\ntables:\n  customers: {{}}\n  {line}\n"
    error = refused(tmp_path, text)
    assert error.what.startswith(f"`tables.{path}` is ")
    assert said in error.what
    assert error.where == f"{tmp_path / 'migration.yaml'}, line 6"
    assert error.expected


def test_a_misspelt_setting_suggests_the_one_meant(tmp_path: Path) -> None:
    """Nothing unknown is passed over."""
    error = refused(tmp_path, "tables:\n  orders:\n    polcy: fail\n")
    assert error.hint == "did you mean `policy`?"
    assert error.expected == "one of columns, key, policy, target, transform"


def test_a_type_with_a_comma_and_without_quotes_is_explained(tmp_path: Path) -> None:
    """In braces the comma ends it; the example shows the quotes."""
    error = refused(tmp_path, "tables: {o: {columns: {p: {type: numeric(12,2)}}}}\n")
    assert error.expected == 'for example `type: "numeric(12,2)"`'


@pytest.mark.parametrize(
    ("text", "path", "lines"),
    [
        ("tables:\n  o: {}\n  p: {}\n  o: {}\n", "tables.o", (4, 6)),
        ("tables:\n  o:\n    columns:\n      a:\n      'a':\n", "tables.o.columns.a", (6, 7)),
        ("tables:\n  o:\n    policy: fail\n    policy: fail\n", "tables.o.policy", (5, 6)),
    ],
)
def test_what_stands_there_twice_is_refused(
    tmp_path: Path, text: str, path: str, lines: tuple[int, int]
) -> None:
    """Of two only the second would count."""
    error = refused(tmp_path, text)
    assert error.what == f"`{path}` stands there twice, in line {lines[0]} already"
    assert error.where.endswith(f"migration.yaml, line {lines[1]}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tables: {a: {b: {c: {d: {e: {f: {}}}}}}}", "nested too deep"),
        ("tables: &x\n  o: *x", "nested too deep"),
        ("tables:\n  ? [a, b]\n  : {}", "a name that is none"),
        ("tables: {o: {target: !!binary aGk=}}", "a type of YAML's own"),
        ("tables: {o: !x {}}", "a type of YAML's own"),
    ],
)
def test_what_no_setting_can_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """YAML allows more than a name and a text; loops too."""
    error = refused(tmp_path, text)
    assert said in error.what
    assert "migration.yaml, line" in error.where


def test_every_setting_has_an_example_that_is_right(tmp_path: Path) -> None:
    """What an error recommends can be written as it stands."""
    assert set(_EXAMPLES) == {*TableSettings.model_fields, *ColumnSettings.model_fields}
    for name, line in _EXAMPLES.items():
        if name in TableSettings.model_fields:
            settings = loaded(tmp_path, f"tables: {{orders: {{{line}}}}}\n").tables["orders"]
            assert settings.model_fields_set == {name}
        else:
            also = "type: timestamp, " if name == "encoding" else ""
            text = f"tables: {{orders: {{columns: {{price: {{{also}{line}}}}}}}}}\n"
            said = loaded(tmp_path, text).tables["orders"].columns["price"]
            assert name in said.model_fields_set
