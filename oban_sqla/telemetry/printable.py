"""Text of programs and users as a log can take it."""

from __future__ import annotations

import shlex

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def printable(text: str) -> str:
    """`text` without what a log can't take: no lone surrogates, which no file can hold, no control characters."""
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
