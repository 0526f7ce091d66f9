"""What a stored error says in one line, in `why`, lists, the dashboard and the exceptions of results."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from oban_sqla.telemetry.gist import gist

GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in a
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "b.py", line 1, in b
    | ValueError: first
    +------------------------------------"""


def _several_lines() -> None:
    raise IntegrityError("INSERT INTO orders VALUES (1)", {}, ValueError("duplicate key\nDETAIL:  Key (id)=(1)."))


def _with_a_cause() -> None:
    try:
        int("x")
    except ValueError as error:
        raise RuntimeError("no number\nat all") from error


def _group() -> None:
    raise ExceptionGroup("both", [ValueError("first\nof two"), TypeError("second\nof two")])


def _syntax() -> None:
    compile("a b", "<text>", "exec")


def traceback_of(fn: Callable[[], None]) -> str:
    try:
        fn()
    except Exception as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError


@pytest.mark.parametrize(
    ("fn", "line"),
    [
        (_several_lines, "IntegrityError: duplicate key"),
        (_with_a_cause, "RuntimeError: no number"),
        (_group, "ExceptionGroup: both (2 sub-exceptions)"),
        (_syntax, "SyntaxError: invalid syntax"),
    ],
)
def test_an_error_is_told_by_the_first_line_of_its_exception(fn: Callable[[], None], line: str) -> None:
    text = traceback_of(fn)
    assert (gist(text) or "").startswith(line)
    end = text[text.index("  File") + 2 :]  # as where only the end of an error is read
    assert (gist(end) or "").startswith(line)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, None),
        ("", ""),
        ("too late", "too late"),
        (
            "Traceback (most recent call last):\nsqlalchemy.exc.IntegrityError: (sqlalchemy.dialects.postgresql."
            "asyncpg.IntegrityError) <class 'asyncpg.exceptions.UniqueViolationError'>: duplicate key value\nDETAIL: …",
            "IntegrityError: duplicate key value",
        ),
        ("the card was declined\nby the bank", "the card was declined"),
        ("** (RuntimeError) boom\n    (app 1.0) lib/app.ex:7: App.run/1\n", "** (RuntimeError) boom"),
        (GROUP, "ValueError: first"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ('b/python3.11/job.py", line 23, in seconds\n    raise ValueError(x)\nValueError: seven', "ValueError: seven"),
        ("aise ValueError(x)\n    ^^^^^^~~~^^^\nValueError: seven", "ValueError: seven"),
        ("    raise ValueError(x)\nValueError: seven\nis not even", "ValueError: seven"),
    ],
)
def test_a_reason_is_told_by_its_first_line(error: str | None, line: str | None) -> None:
    assert gist(error) == line
