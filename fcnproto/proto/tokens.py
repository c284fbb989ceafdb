"""The tokens of protobuf's text format, and what strings stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor

OPENERS = {"{": "}", "<": ">", "[": "]"}

CLOSERS = frozenset(OPENERS.values())

# Letters, digits and spaces are ASCII's. What starts like a number and goes on otherwise (1.2.3,
# 08, 5e, 3x) is malformed.
TOKEN = re.compile(
    r"""
      (?P<space> (?: [ \t\n\r\v\f]++ | \#[^\n]*+ )++ )
    | (?P<identifier> [A-Za-z_][A-Za-z0-9_]*+ )
    | (?P<string> "(?: [^"\\\n\0]++ | \\[^\n\0] )*+" | '(?: [^'\\\n\0]++ | \\[^\n\0] )*+' )
    | (?P<integer> (?: 0[xX][0-9a-fA-F]++ | 0[0-7]*+ | [1-9][0-9]*+ )(?![0-9A-Za-z_.]) )
    | (?P<float> (?: (?: 0 | [1-9][0-9]*+ )(?: \.[0-9]*+ )?+ | \.[0-9]++ )
                 (?: [eE][+-]?[0-9]++ )?+ [fF]?+ (?![0-9A-Za-z_.]) )
    | (?P<malformed> \.?[0-9][0-9A-Za-z_.]*+ )
    | (?P<symbol> . )
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(
    rb"""\\(?: (?P<octal> [0-7]{1,3} )
             | [xX](?P<hex> [0-9a-fA-F]{1,2} )
             | u(?P<head> [dD][89abAB][0-9a-fA-F]{2} )\\u(?P<tail> [dD][c-fC-F][0-9a-fA-F]{2} )
             | u(?P<four> [0-9a-fA-F]{4} )
             | U(?P<eight> 00(?: 0[0-9a-fA-F] | 10 )[0-9a-fA-F]{4} )
             | (?P<letter> [abfnrtv\\?'"] )
             | (?P<invalid> ) )""",
    re.VERBOSE,
)

_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}


class ValueProblemError(Exception):
    """What is wrong with one value; reading can go on behind it."""


def _unescape(escape: re.Match[bytes]) -> bytes:
    kind, digits = escape.lastgroup, escape[escape.lastgroup or 0]
    if kind == "octal":
        return bytes([int(digits, 8) & 0xFF])
    if kind == "hex":
        return bytes([int(digits, 16)])
    if kind == "letter":
        return _LETTERS.get(digits, digits)
    if kind == "invalid":
        raise ValueProblemError(
            r"has an escape sequence that is not one of C; a backslash is written '\\'"
        )
    if kind == "tail":
        head, tail = int(escape["head"], 16), int(digits, 16)
        code = 0x10000 + (head - 0xD800) * 0x400 + (tail - 0xDC00)
    else:
        code = int(digits, 16)
    return chr(code).encode("utf-8", "surrogatepass")


def string_of(token: str) -> str | bytes:
    """The value of a string token: text, or bytes where they are no UTF-8."""
    if "\\" not in token:
        return token[1:-1]
    value = _ESCAPE.sub(_unescape, token[1:-1].encode())
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def top_level_names(text: str) -> Iterator[str]:
    """The names of a text's outermost fields, as far as it can be read."""
    depth, previous = 0, ""
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "space":
            continue
        if kind == "symbol":
            depth += (token in OPENERS) - (token in CLOSERS)
        elif kind == "identifier" and depth == 0 and previous != ":":
            yield token
        previous = token


FieldPath = tuple[str | int, ...]


def path_name(path: FieldPath) -> str:
    """The name of the message at `path`, for a person."""
    names = [part for part in path if isinstance(part, str)]
    return names[-1] if names else "the text"


def short(token: str) -> str:
    """A token as one line shows it: not long, and no control characters."""
    token = token if len(token) <= 40 else token[:37] + "..."
    return token if token.isprintable() else repr(token)[1:-1]


RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_BOOL: (0, 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
}

BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}

FLOATS = {"inf": "inf", "infinity": "inf", "nan": "nan"}
