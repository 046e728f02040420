"""Booleans in words, UUIDs and numerals between SQLite's values and PostgreSQL's types, by form.

- `boolean`: the words themselves, such as `"true/false"` or `"Y/N"`; `""` for 1 and 0
- `uuid`: characters and case of the hex digits, such as `"36l"`, `"32u"`, `"38u"` (in braces); or
  `blob` for 16 bytes
- `numeric`: `text` for numerals in text, each with all digits of its scale; `""` for numbers
"""

import re
from contextlib import suppress
from decimal import Decimal
from uuid import UUID

from migration_assets.model import SqliteValue

BLOB = "blob"
NUMERAL = "text"
UUID_FORMS = ("36l", "36u", "32l", "32u", "38l", "38u", BLOB)
_UUID_BYTES = 16
_PAIRS = ("true/false", "t/f", "yes/no", "y/n", "on/off")
_CASED = {cased: None for pair in _PAIRS for cased in (pair, pair.upper(), pair.title())}
# by word: every word belongs to one pair
WORDS = {word: pair for pair in _CASED for word in pair.split("/")}
_HEX = r"[0-9a-fA-F]"
_DASHED = rf"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"
_UUID = re.compile(rf"{_DASHED}|{_HEX}{{32}}|\{{{_DASHED}\}}")
_NUMERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?")


def read_word(value: SqliteValue, form: str) -> bool | None:
    """Return the truth a value means under a form; None where it means none."""
    if not form:
        return bool(value) if isinstance(value, int) and value in (0, 1) else None
    yes, _, no = form.partition("/")
    return {yes: True, no: False}.get(value) if isinstance(value, str) else None


def write_word(value: bool, form: str) -> SqliteValue:  # noqa: FBT001 - the value itself
    """Return a truth as the form writes it."""
    if not form:
        return int(value)
    yes, _, no = form.partition("/")
    return yes if value else no


def uuid_forms(text: str) -> tuple[str, ...]:
    """Return the forms a text can have as a UUID: both cases, where no digit has one."""
    if not _UUID.fullmatch(text):
        return ()
    forms = (f"{len(text)}l", f"{len(text)}u")
    if text != text.lower():
        return forms[1:] if text == text.upper() else ()
    return forms if text == text.upper() else forms[:1]


def read_uuid(value: SqliteValue, form: str) -> UUID | None:
    """Return the UUID that a value is under a form; None where it is none.

    Texts of other forms may be read: whether one prints back the same is for the fit to say.
    """
    if form == BLOB:
        if isinstance(value, bytes) and len(value) == _UUID_BYTES:
            return UUID(bytes=value)
        return None
    if isinstance(value, str) and form[:2] == str(len(value)):
        with suppress(ValueError):
            return UUID(value)
    return None


def write_uuid(value: UUID, form: str) -> SqliteValue:
    """Return a UUID as the form writes it."""
    if form == BLOB:
        return value.bytes
    text = {"36": str(value), "32": value.hex, "38": f"{{{value}}}"}[form[:2]]
    return text.upper() if form[2:] == "u" else text


def is_numeral(text: str) -> bool:
    """Tell whether a text is a number as PostgreSQL prints it: no plus, no sign of a zero."""
    return bool(_NUMERAL.fullmatch(text)) and not (text[0] == "-" and not text.strip("-0."))


def read_numeral(value: SqliteValue) -> Decimal | None:
    """Return the number that a text is; None where PostgreSQL would not print it so."""
    return Decimal(value) if isinstance(value, str) and is_numeral(value) else None
