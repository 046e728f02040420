"""Read what SQLite keeps only as text: the statements that made tables and indexes.

No pragma tells CHECKs, generated expressions, collations or AUTOINCREMENT. Such a statement was
accepted by SQLite once, so this reads it by its tokens (https://sqlite.org/lang_createtable.html)
and looks for words that SQLite reserves, which are never names unless quoted.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase, ascii_uppercase

_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
      | (?P<word>[^\W\d][\w$]*)
      | (?P<other>\d[\w.]*|.)""",
    re.DOTALL | re.VERBOSE,
)
_FOLD = str.maketrans(ascii_uppercase, ascii_lowercase)
_TABLE_CONSTRAINTS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})
_CONTENT_OPTION = re.compile(r"\bcontent\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, quoted text or sign of a statement, and where it stands."""

    text: str
    start: int
    end: int
    kind: str

    def is_word(self, *words: str) -> bool:
        """Tell whether this is one of these words, unquoted."""
        return self.kind == "word" and self.text.upper() in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the text of a CREATE TABLE says beyond the pragmas; columns by their folded name.

    `names` are those of the columns in their order. `checks` are the texts within the brackets.
    """

    names: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    expressions: Mapping[str, str] = field(default_factory=dict[str, str])
    collations: Mapping[str, str] = field(default_factory=dict[str, str])
    autoincrement: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an index: an expression in SQLite's SQL, its collation, and its direction."""

    expression: str
    collation: str = ""
    descending: bool = False

    @property
    def column(self) -> str | None:
        """The column that it is by its bare name; None for an expression."""
        quoted = _TOKEN.fullmatch(self.expression)
        return _unquoted(self.expression) if quoted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredIndex:
    """The members of an index, and its predicate, empty where it covers all rows."""

    members: tuple[Member, ...]
    predicate: str = ""


def fold_name(name: str) -> str:
    """Fold a name as SQLite compares names: ASCII letters only."""
    return name.translate(_FOLD)


def parse_table(statement: str) -> Declared:
    """Read a CREATE TABLE; a statement of another shape says nothing."""
    tokens = list(_tokens(statement))
    body = _first_group(tokens)
    names: list[str] = []
    checks: list[str] = []
    expressions: dict[str, str] = {}
    collations: dict[str, str] = {}
    autoincrement = False
    for definition in _split(body):
        column = ""
        if not definition[0].is_word(*_TABLE_CONSTRAINTS):
            column = fold_name(_unquoted(definition[0].text))
            names.append(column)
        for at, token in _at_top(definition):
            following = definition[at + 1] if at + 1 < len(definition) else None
            if token.is_word("AUTOINCREMENT"):
                autoincrement = True
            if following is None:
                continue
            if token.is_word("CHECK") and following.text == "(":
                checks.append(_inside(statement, definition, at + 1))
            elif column and at and token.is_word("AS") and following.text == "(":
                expressions[column] = _inside(statement, definition, at + 1)
            elif column and at and token.is_word("COLLATE"):
                collations[column] = _unquoted(following.text).upper()
    return Declared(
        names=tuple(names),
        checks=tuple(checks),
        expressions=expressions,
        collations=collations,
        autoincrement=autoincrement,
    )


def parse_index(statement: str) -> DeclaredIndex | None:
    """Read a CREATE INDEX; None for any other statement."""
    tokens = list(_tokens(statement))
    body = _first_group(tokens)
    if not body:
        return None
    end = tokens.index(body[-1]) + 1  # its closing bracket
    rest = tokens[end + 1 :]
    if rest and not rest[0].is_word("WHERE"):
        return None
    predicate = statement[rest[1].start : rest[-1].end] if len(rest) > 1 else ""
    members = tuple(_member(statement, part) for part in _split(body))
    return DeclaredIndex(members=members, predicate=predicate)


def has_content_option(statement: str) -> bool:
    """Tell whether a full-text table keeps its content in a table of the application's own."""
    return bool(_CONTENT_OPTION.search(statement))


def _member(statement: str, tokens: Sequence[_Token]) -> Member:
    left, collation, descending = list(tokens), "", False
    if left[-1].is_word("ASC", "DESC"):
        descending = left.pop().is_word("DESC")
    if len(left) > 2 and left[-2].is_word("COLLATE"):  # noqa: PLR2004 - a name, COLLATE, a name
        collation = _unquoted(left[-1].text).upper()
        left = left[:-2]
    text = statement[left[0].start : left[-1].end]
    return Member(expression=text, collation=collation, descending=descending)


def _tokens(statement: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(statement):
        kind = match.lastgroup or ""
        if kind != "blank":
            yield _Token(match[0], match.start(), match.end(), kind)


def _first_group(tokens: Sequence[_Token]) -> list[_Token]:
    """Return what stands within the first pair of brackets."""
    start = next((i for i, t in enumerate(tokens) if t.kind == "other" and t.text == "("), None)
    if start is None:
        return []
    return list(tokens[start + 1 : _closing(tokens, start)])


def _closing(tokens: Sequence[_Token], start: int) -> int:
    """Return the place of the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(tokens)):
        depth += _step(tokens[at])
        if depth == 0:
            return at
    return len(tokens)


def _step(token: _Token) -> int:
    return {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "other" else 0


def _split(tokens: Sequence[_Token]) -> list[list[_Token]]:
    """Split at the commas that stand in no brackets."""
    parts: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += _step(token)
        if depth == 0 and token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _at_top(tokens: Sequence[_Token]) -> Iterator[tuple[int, _Token]]:
    """Yield the tokens that stand in no brackets, with their places."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += _step(token)
        if depth == 0:
            yield at, token


def _inside(statement: str, tokens: Sequence[_Token], opening: int) -> str:
    closing = _closing(tokens, opening)
    end = tokens[closing].start if closing < len(tokens) else tokens[-1].end
    return statement[tokens[opening].end : end].strip()


def _unquoted(name: str) -> str:
    quote = name[:1]
    if quote == "[":
        return name[1:-1]
    return name[1:-1].replace(quote * 2, quote) if quote in ("'", '"', "`") else name
