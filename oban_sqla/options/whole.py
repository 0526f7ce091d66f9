"""Whole numbers that come as text, from a person or another program."""

from __future__ import annotations


def whole_from(text: str | None, digits: int = 9) -> int | None:
    """The whole number that `text` is, in decimal digits; None for anything else.

    Digits of other scripts are none, and `int` refuses or takes long for what has thousands of them.

    :param digits: the most that it may have. Default: 9, which an integer of the database holds; 19 for a bigint.
    """
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= digits):
        return None
    return int(text)
