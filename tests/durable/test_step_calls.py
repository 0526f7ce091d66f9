"""What a step takes of its function, and how its value travels. No database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import date
from functools import wraps
from typing import Annotated, Any

import pytest
from pydantic import PlainSerializer
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, InvalidOption, Job
from oban_sqla.runtime.durable.call import StepCall


def plainly(fn: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
    @wraps(fn)
    def called() -> Awaitable[int]:
        return fn()

    return called


def lies() -> None:
    """It returns 7."""


@plainly
async def decorated() -> int:
    return 1


def test_a_coroutine_function_below_a_plain_decorator_is_called_as_one() -> None:
    assert StepCall("decorated", decorated).is_async


def test_what_the_step_fills_in_can_not_be_given() -> None:
    def book(session: Session, number: int) -> None: ...

    with pytest.raises(InvalidArgs, match="step 'book': the step itself fills in the parameter 'session'"):
        StepCall("book", book).bound((), {"session": None, "number": 1}, Job(), None)


def test_nothing_comes_back_as_nothing_whatever_the_function_says(caplog: pytest.LogCaptureFixture) -> None:
    def count() -> Annotated[int, PlainSerializer(lambda number: number + 1)]: ...  # type: ignore[empty-body]

    call = StepCall("count", count)
    assert call.dump(1) == "2"
    with caplog.at_level(logging.WARNING):
        assert call.load(call.dump(None)) is None
        assert StepCall("nothing", lies).load("7") == 7
    assert not caplog.records


@pytest.mark.parametrize(("hint", "is_refused"), [("LaterSession", True), ("Later", False)])
def test_an_unknown_annotation_is_refused_only_where_a_session_may_be_meant(hint: str, is_refused: bool) -> None:
    def book(given: Any) -> None: ...

    book.__annotations__["given"] = hint
    if is_refused:
        with pytest.raises(InvalidOption, match="names 'LaterSession', which is not known where it is defined"):
            StepCall("book", book)
    else:
        assert StepCall("book", book).session_kind is None


class Days:
    def __call__(self) -> date: ...  # type: ignore[empty-body]


def days() -> Annotated[date, {"unit": "day"}]: ...  # type: ignore[empty-body]


def of_days() -> Days: ...  # type: ignore[empty-body]


def test_a_value_is_converted_where_there_is_a_type_that_pydantic_knows() -> None:
    assert StepCall("days", Days()).load('"2026-11-28"') == "2026-11-28"
    assert StepCall("of_days", of_days).load('"2026-11-28"') == "2026-11-28"
    assert StepCall("days", days).load('"2026-11-28"') == date(2026, 11, 28)
