"""docs/reference/types.md, made from the code: what a declared type and its values become.

`python -m migration_assets_tests.types_page --write` writes the page; a test compares it. Every row
is asked of the product itself: a real SQLite column takes the values, the census counts them.
"""

import argparse
from collections.abc import Mapping, Sequence

from migration_assets.mapping.encodings import pattern
from migration_assets.mapping.json_text import MAX_DEPTH
from migration_assets.mapping.propose import TOLERANCE, TOLERANCE_VALUES, choose
from migration_assets.mapping.types import KEY_KINDS
from migration_assets.mapping.values import storage_class
from migration_assets.mapping.words import UUID_FORMS
from migration_assets.model import Kind, SourceColumn, SourceTable, SqliteValue, TargetType
from migration_assets.source.census import count
from migration_assets_tests.command import ROOT
from migration_assets_tests.fixtures_sqlite import stored

PAGE = ROOT / "docs" / "reference" / "types.md"
COMMAND = "python -m migration_assets_tests.types_page --write"

# By table: a declaration that SQLite itself knows, and one of a word that it doesn't; each stands
# for those beside it.
PLAIN = {
    "INTEGER": "`INTEGER`, `INT`, `BIGINT` …",
    "REAL": "`REAL`, `DOUBLE`, `FLOAT`",
    "NUMERIC": "`NUMERIC`, `DECIMAL`, `MONEY`",
    "DECIMAL(10,2)": "`DECIMAL(10,2)`",
    "TEXT": "`TEXT`, `VARCHAR(n)`, `CHAR(n)`, `CLOB`",
    "BLOB": "`BLOB`",
    "": "no type",
    "STRING": "any other word",
}
WORDS = {
    "BOOLEAN": "`BOOLEAN`, `BOOL`",
    "DATE": "`DATE`",
    "DATETIME": "`DATETIME`, `TIMESTAMP`",
    "TIMESTAMPTZ": "`TIMESTAMPTZ`, `TIMESTAMP WITH TIME ZONE`, `DATETIMEOFFSET`",
    "TIME": "`TIME`",
    "JSON": "`JSON`, `JSONB`",
    "UUID": "`UUID`, `GUID`, `UNIQUEIDENTIFIER`",
}
_UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
_MOMENT = "2026-10-04 10:00:00"
VALUES: dict[str, Sequence[SqliteValue]] = {
    "none yet": [],
    "0 and 1": [0, 1],
    "whole numbers, seconds since 1970 too": [5, 1_790_000_000],
    "numbers with a fraction, Julian days too": [2.555, 2461317.9166666665],
    "both": [5, 2.555],
    "numbers and words": [5, 2.555, "n/a"],
    "words, amounts such as `$5.00`, dates such as `4.10.2026`": ["n/a", "$5.00", "4.10.2026"],
    "numerals of 20 digits or more": ["1" * 40],
    "one pair of boolean words (`true/false`, `Y/N` …)": ["true", "false"],
    "dates (`YYYY-MM-DD`)": ["2026-10-04"],
    "moments (`YYYY-MM-DD HH:MM:SS` …) in one form": [_MOMENT],
    "moments with one suffix (`Z`, `+02:00` …)": [_MOMENT + "Z"],
    "moments with several suffixes": [_MOMENT + "+01:00", _MOMENT + "+02:00"],
    "times (`HH:MM:SS` …) in one form": ["10:00:00"],
    "JSON": ['{"a": 1}', "[1, 2]"],
    "UUIDs in one form": [_UUID],
    "UUIDs of 16 bytes": [b"\x01" * 16],
    "other blobs": [b"\x01"],
    "text and blobs": ["n/a", b"\x01"],
}
# Forms that show what an encoding can be; those of numbers are named beside them.
_SHOWN = {
    Kind.TIMESTAMP: (" m", "T0", " 3", "s", "ms", "us", "julian"),
    Kind.TIMESTAMPTZ: ("T3Z", " 0+02:00", " 6 UTC", "s", "ms", "us", "julian"),
    Kind.TIME: ("m", "0", "6"),
    Kind.UUID: UUID_FORMS,
    Kind.BOOLEAN: ("true/false", "Y/N"),
    Kind.NUMERIC: ("text",),
}
_FORMLESS = {Kind.BOOLEAN: "0/1", Kind.NUMERIC: "number", Kind.DATE: "YYYY-MM-DD"}


def _cell(declared: str, values: Sequence[SqliteValue]) -> str:
    """Return how SQLite stores these values in a column, and what type that column gets."""
    column = SourceColumn(name="v", declared=declared)
    table = SourceTable(source="main", name="t", columns=(column,))
    rows = [(value,) for value in stored(declared, values)]
    census = count(table, lambda: rows)["v"]
    kind = choose(column, census)
    rest = " \\*" if census.fits.get(kind, census.values) < census.values else ""
    classes = ", ".join(sorted({storage_class(value) for (value,) in rows}))
    return f"{classes}: `{kind.sql}`{rest}" if classes else f"`{kind.sql}`"


def _declared_table(declarations: Mapping[str, str]) -> str:
    named: dict[tuple[str, ...], list[str]] = {}  # values that become the same share a line
    for shown, values in VALUES.items():
        named.setdefault(tuple(_cell(d, values) for d in declarations), []).append(shown)
    lines = [["values", *declarations.values()], ["---"] * (1 + len(declarations))]
    lines += [["; ".join(names), *cells] for cells, names in named.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _settings_table() -> str:
    lines = ["| type | encoding | can be a key |", "| --- | --- | --- |"]
    for kind in Kind:
        names = [_FORMLESS[kind]] if kind in _FORMLESS else []
        names += [pattern(TargetType(kind=kind, form=form)) for form in _SHOWN.get(kind, ())]
        key = "yes" if kind in KEY_KINDS else "no"
        shown = ", ".join(f"`{name}`" for name in names) or "\u2013"
        lines.append(f"| `{kind.value}` | {shown} | {key} |")
    return "\n".join(lines)


def page() -> str:
    """Return the whole page."""
    share = f"{TOLERANCE * 100:g} % of at least {TOLERANCE_VALUES}"
    return f"""# Types

<!-- made from the code: {COMMAND} -->

A value fits a type if it comes back from it with the same storage class and the same bytes. The
declaration says which types are tried and in which order. The census of the first cut says which
one stands: the first that all values fit, or {share}. The rows of the
others are quarantined whole, and `migration-assets plan` names them beforehand.

## What a column becomes

Each cell says how SQLite stores the values in a column that is declared so, and the type that the
column gets. \\* The values that don't fit it are quarantined: no type holds them all.

{_declared_table(PLAIN)}

Words that SQLite doesn't know, and that say something to PostgreSQL:

{_declared_table(WORDS)}

- Every type with a form has one for the whole column: separator, digits of a second and suffix of a
  moment; precision of a time; spelling and case of a UUID; the pair of boolean words. A value in
  another form doesn't fit, so that every value prints back as it was. `timestamptz` stands only
  where every moment ends with the same suffix: one column with `+01:00` and `+02:00` is `text`.
- A column that is declared as text stays text, whatever it looks like. The evidence in the plan
  says what that is, and `migration.yaml` can make it a type.
- Numbers become moments only where `migration.yaml` says how they count.
- A column without a value is open: its type is its declaration's until one comes.
- JSON is checked as PostgreSQL checks it and kept as it is written, in `json`, never in `jsonb`. It
  may be nested {MAX_DEPTH} levels deep. `json` knows no equality: a column that a key, an index or
  a foreign key compares stays `text`.
- SQLite reads digits in a column declared `UUID`, `TIME`, `JSON` … as numbers: a UUID of 32 digits
  without a letter is a real there, its own digits are lost at the source. It doesn't fit `uuid`.
- No date or moment is before year 1 or after year 9999, at 24:00 or in the second 60: such texts
  fit `text` alone. Text with NUL characters, or that is not UTF-8, fits nothing.

## What `migration.yaml` can name

A type is spelled as in PostgreSQL (`numeric(12,2)`, `timestamp with time zone`); `varchar(n)` is
`text`. Whole numbers are `bigint`, real ones `double precision`: the smaller types would have to
round or to fail later. Without an encoding, the form is the one that most values have.

{_settings_table()}

In an encoding, `.f` to `.ffffff` are the digits of a second; a suffix is `Z`, `UTC` or an offset,
with a blank before it or without. Any two words make a boolean, the true one first. `epoch s`, `ms`
and `us` count from 1970, `julian` days as SQLite's `julianday()` does. `text` takes numerals in
text that have exactly the digits of the scale: `12.50` is a `numeric(12,2)`, `$12.50` and `12.5`
are not.
"""


def main() -> None:
    """Write the page, or say that it is not what the code says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/reference/types.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        parser.exit(1, f"{PAGE.name} is not what the code says: {COMMAND}\n")


if __name__ == "__main__":
    main()
