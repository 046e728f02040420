"""Text of others, names and keys first, shown so that it stays text.

A table may be called anything: a terminal's escape sequence, an override of the writing direction,
a picture in Markdown. What people read shows such characters by their number instead.
"""

import re

# Controls but tab and newline, C1, DEL; then what turns the direction of writing around, and
# separators that some viewers take for line ends: https://www.unicode.org/reports/tr9, tr36
_CONTROLS = "\0-\x08\x0b-\x1f\x7f-\x9f"
_DIRECTIONS = "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_UNSEEN = re.compile(f"[{_CONTROLS}{_DIRECTIONS}]")
_LINE_SIGNS = re.compile(r"[\t\n]")
# https://spec.commonmark.org: what starts markup inside a line; `_` does so only beside a word
_MARKUP = re.compile(r"[\\`*\[\]<>&|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def plain(text: str) -> str:
    r"""Return the text with what acts instead of being seen spelled out, as `\x1b`."""
    return _UNSEEN.sub(_spelled, text)


def one_line(text: str) -> str:
    """Return the text as `plain` does, newlines and tabs spelled out too."""
    return _LINE_SIGNS.sub(_spelled, plain(text))


def markdown(text: str) -> str:
    """Return the text on one line, so that Markdown shows it as it stands."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", one_line(text))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s unless it is one."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
