"""Text of programs and users as a log can take it."""

from __future__ import annotations

import shlex

REVERSING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of writing, so that a line says something else than it seems to."""

_CONTROLS = (code for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n")
_ESCAPES = {code: f"\\x{code:02x}" for code in _CONTROLS} | {ord(char): f"\\u{ord(char):04x}" for char in REVERSING}


def printable(text: str) -> str:
    """`text` with escapes for lone surrogates, which no file can hold, and for what a terminal obeys."""
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().translate(_ESCAPES)


def shortened(text: str, limit: int) -> str:
    """`text`, or the beginning and the end of it if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters left out … {text[-half:]}"


def shell_word(text: str) -> str:
    """`text` as one word of a command that is printed to be copied into a shell, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    return (
        char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "backslashreplace"))
    )
