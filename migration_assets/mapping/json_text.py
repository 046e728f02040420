r"""Whether a text is JSON to PostgreSQL's type `json`, which keeps it as it is written.

PostgreSQL checks grammar alone: any escape of four hex digits is one, a lone surrogate's and
\u0000 too, keys may come twice, and numbers have no limit
(https://www.postgresql.org/docs/current/datatype-json.html). `NaN` and `Infinity`, which Python
reads, are no JSON. The server's stack bounds the depth, so ours is bounded too, far below.
"""

import json
import re
from typing import NoReturn

# A server with the smallest stack (max_stack_depth 100kB) still reads it, and so does Python.
MAX_DEPTH = 200
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


# numbers stay texts: Python's own would refuse those of more than 4,300 digits
_DECODER = json.JSONDecoder(parse_constant=_no_json, parse_int=str, parse_float=str)


def is_json(text: str) -> bool:
    """Tell whether PostgreSQL's `json` takes a text, of nested values at most `MAX_DEPTH`."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        return False
    try:
        _DECODER.decode(text)
    except ValueError:
        return False
    return True


def _depth(text: str) -> int:
    """Return the deepest nesting of brackets outside strings."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[2]:
            depth -= 1
    return deepest
