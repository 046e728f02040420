"""What the words of an expression in SQLite's SQL mean, as far as SQLite doesn't say it itself."""

import re
from collections.abc import Iterable
from string import ascii_lowercase, ascii_uppercase

_FOLD = str.maketrans(ascii_uppercase, ascii_lowercase)  # SQLite's names fold ASCII only
# Strings, quoted names and comments: https://sqlite.org/lang_keywords.html, lang_comment.html
_TOKENS = re.compile(
    r"""'(?:[^']|'')*' | "(?P<name>(?:[^"]|"")*)" | `(?:[^`]|``)*` | \[[^\]]*\]
    | --[^\n]* | /\*.*?(?:\*/|\Z)""",
    re.DOTALL | re.VERBOSE,
)


def misspelt(expression: str, columns: Iterable[str]) -> list[str]:
    """Return the names in double quotes that are no columns, in order.

    SQLite takes such a name for a string of that text, so that a typing error would be a value:
    https://sqlite.org/quirks.html#double_quoted_string_literals_are_accepted
    """
    known = {name.translate(_FOLD) for name in columns}
    quoted = (match["name"] for match in _TOKENS.finditer(expression))
    names = (name.replace('""', '"') for name in quoted if name is not None)
    return [name for name in names if name.translate(_FOLD) not in known]
