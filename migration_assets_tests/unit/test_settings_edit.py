"""Lines added to a settings file: what stands there stays, byte for byte, and means the same."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import SettingsError
from migration_assets.settings_edit import Section, add, scalar
from migration_assets.settings_file import parse

FILE = Path("migration.yaml")
PRICE = Section(entries={"type": "numeric(12,2)"}, comment="3 real", inline=True)
COLUMNS = Section(entries={"price": PRICE})
ORDERS = Section(
    entries={"key": ("shop", "id"), "policy": "quarantine", "columns": COLUMNS},
    comment="3 rows",
)
WANTED = Section(entries={"tables": Section(entries={"orders": ORDERS})})
ADDED = """\
tables:
  # 3 rows
  orders:
    key: [shop, id]
    policy: quarantine
    columns:
      # 3 real
      price: {type: "numeric(12,2)"}
"""
SAID = {
    "orders": {
        "key": ["shop", "id"],
        "policy": "quarantine",
        "columns": {"price": {"type": "numeric(12,2)"}},
    }
}


def added(text: str) -> str:
    """Return the text with everything that is wanted; a second time nothing is added."""
    made = add(FILE, text, WANTED)
    assert add(FILE, made, WANTED) == made
    return made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", ADDED),
        ("source: a\n", f"source: a\n\n{ADDED}"),
        ("source: a", f"source: a\n\n{ADDED}"),
        ("source: a\n# the end\n", f"source: a\n# the end\n\n{ADDED}"),
        ("# nothing\n", f"# nothing\n\n{ADDED}"),
        ("a: |\n  text\n", f"a: |\n  text\n\n{ADDED}"),
    ],
)
def test_what_a_file_lacks_goes_to_its_end(text: str, made: str) -> None:
    """With the evidence as comments, behind comments that end the file."""
    assert added(text) == made


CAST = "tables:\n  orders:\n    columns:\n      x:\n        cast:"
SHAPES = {
    "nothing below it": "tables:\nweeks: 5\n",
    "a comment beside it": "tables:  # ours\nweeks: 5\n",
    "empty braces": "tables: {}\nweeks: 5\n",
    "empty braces at the end": "weeks: 5\ntables: {}",
    "braces": "tables: {other: {policy: fail}}\n",
    "all braces": "{weeks: 5, tables: {orders: {columns: {price: {policy: fail}}}}}\n",
    "braces with nothing in them": "{weeks: 5, tables: }\n",
    "an empty file in braces": "{}\n",
    "another table": "tables:\n  other:\n    policy: fail  # why\n\n# end\nweeks: 5\n",
    "the table, empty": "tables:\n  orders:\n  other: {}\n",
    "the table, empty braces": "tables:\n  orders: {}  # why\n  other: {}\n",
    "the table in braces": "tables:\n  orders: {target: x}\n",
    "the key": "tables:\n  orders:\n    key: [id]\n    # policy: fail\n  other:\n",
    "columns": "tables:\n  orders:\n    columns:\n      name: {type: text}\n    policy: fail\n",
    "the column": "tables:\n  orders:\n    columns:\n      price: {policy: widen}\n",
    "the column in lines": "tables:\n  orders:\n    columns:\n      price:\n        policy: fail\n",
    "the column, empty": "tables:\n  orders:\n    columns:\n      price:\n",
    "deeper steps": "tables:\n    orders:\n        columns:\n            price:\n\nweeks: 5\n",
    "a list in lines": "tables:\n  orders:\n    key:\n    - a\n    - b\n",
    "a text of lines": f"{CAST} |\n          a\n\n",
    "a long text": f"{CAST} 'a ||\n          b'\n",
    "quoted names": "'tables':\n  \"orders\":\n    policy: fail\n",
    "windows": "source: a\r\ntables:\r\n  other:\r\n    policy: fail\r\nweeks: 5\r\n",
    "windows at the end": "source: a\r\ntables:\r\n  orders:\r\n    policy: fail",
    "an alias at the end": "tables:\n  a: &x {policy: fail}\n  b: *x\nweeks: 5\n",
    "a merge": "tables:\n  a: &x {policy: fail}\n  orders:\n    <<: *x\n",
    "a mark of its own": "\ufeffsource: a\ntables:\n  other:\n",
    "a document's start": "---\nsource: a\n",
}  # fmt: skip


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_what_a_file_says_stays_byte_for_byte(text: str) -> None:
    """However it is written; and it wins over what is wanted."""
    made = added(text)
    rest = iter(made)
    assert all(character in rest for character in text.replace("{}", ""))
    before, after = parse(FILE, text).values, parse(FILE, made).values
    said = (before.get("tables") or {}).get("orders") or {}
    there = after["tables"].pop("orders")
    assert there == {**SAID["orders"], **said, "columns": there["columns"]}
    column = (said.get("columns") or {}).get("price") or {}
    expected = {**(said.get("columns") or {}), "price": {"type": "numeric(12,2)", **column}}
    assert there["columns"] == expected
    others = {name: t for name, t in (before.get("tables") or {}).items() if name != "orders"}
    assert after == {**before, "tables": others}


@pytest.mark.parametrize("name", [name for name in SHAPES if name.startswith("windows")])
def test_a_file_of_windows_keeps_its_line_ends(name: str) -> None:
    """The lines that are added have the same ones."""
    assert added(SHAPES[name]).replace("\r\n", "").count("\n") == 0


@pytest.mark.parametrize(
    "text",
    [
        "tables:\n  orders: &x\n    policy: fail\n  other: *x\n",
        "source: a\n...\n",
        f"{CAST} >\n          a",
        "base: &x {tables: {other: {policy: fail}}}\n<<: *x\n",
    ],
)
def test_a_file_that_cannot_be_added_to_is_refused(text: str) -> None:
    """Rather than changed in what it says of something else."""
    with pytest.raises(SettingsError, match="can't be added without changing"):
        add(FILE, text, WANTED)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_name_is_written_so_that_it_is_read_back(name: str) -> None:
    """On one line, in lines and in braces, as a name and as a value."""
    assert yaml.safe_load(f"{{{scalar(name)}: [{scalar(name)}]}}") == {name: [name]}
    assert "\n" not in scalar(name)
    table = Section(
        entries={"key": (name,), "columns": Section(entries={name: PRICE}, comment=name)},
        comment=name,
    )
    wanted = Section(entries={"tables": Section(entries={name: table})})
    for text in ("source: a\n", "tables: {other: }\n", "tables:\n  other:\n"):
        made = parse(FILE, add(FILE, text, wanted)).values["tables"]
        assert made[name] == {"key": [name], "columns": {name: {"type": "numeric(12,2)"}}}
