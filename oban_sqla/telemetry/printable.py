"""Text of programs and users as a log can take it."""

from __future__ import annotations

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
