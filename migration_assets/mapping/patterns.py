"""GLOB's patterns as PostgreSQL's regular expressions (https://sqlite.org/lang_expr.html#glob)."""

from migration_assets.mapping.typed import UntranslatableError

_PLAIN = frozenset("_ ")


def glob_as_regex(pattern: str) -> str:
    """Return the regular expression that matches what the pattern matches, the whole text."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "[":
            end = pattern.find("]", at + (3 if pattern[at + 1 : at + 2] == "^" else 2))
            if end < 0:
                raise UntranslatableError("GLOB with a bracket that isn't closed")
            found.append(_class(pattern[at + 1 : end]))
            at = end + 1
            continue
        found.append({"*": "(.*)", "?": "."}.get(sign) or _escaped(sign))
        at += 1
    return f"^{''.join(found)}$"


def _escaped(sign: str) -> str:
    """Return a character that stands for itself; a backslash before a letter is an operator."""
    return sign if sign.isalnum() or sign in _PLAIN or not sign.isascii() else f"\\{sign}"


def _class(members: str) -> str:
    """Return a class of characters; ranges go by code point, as the collation "C" has them."""
    if "[" in members or "\\" in members:
        raise UntranslatableError("GLOB with a class of special characters")
    return f"[{members}]"
