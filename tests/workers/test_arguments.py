"""A worker's parameters as the schema of its jobs' arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, cast
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, PlainSerializer, field_serializer
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, InvalidOption, Job, JobSpec, job, later
from oban_sqla.workers.function import JobFunction


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Address(BaseModel):
    street: str
    number: Annotated[int, Field(ge=1)]


@job(name="tests.arguments.ship")
async def ship(
    session: AsyncSession,
    order_id: UUID,
    price: Decimal,
    when: datetime,
    size: Size = Size.SMALL,
    to: Address | None = None,
    *,
    current: Job | None = None,
    note: str = "",
) -> None: ...


ORDER = UUID("9a3c0c9a-5f5c-4d5e-8d6e-0f4f2b1c7a11")
THEN = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def loaded(fn: JobFunction[..., ..., Any], args: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments with which a run of a job with these stored args calls the function."""
    assert fn.worker.arguments is not None
    return fn.worker.arguments.load_json(json.dumps(args))


def test_arguments_become_json_by_their_types_and_come_back() -> None:
    spec = ship.new(ORDER, Decimal("1.10"), THEN, Size.LARGE, to=Address(street="Main", number=7))
    assert spec.args == {
        "order_id": str(ORDER),
        "price": "1.10",
        "when": "2030-01-02T03:04:00Z",
        "size": "l",
        "to": {"street": "Main", "number": 7},
    }
    assert loaded(ship, dict(spec.args)) == {
        "order_id": ORDER,
        "price": Decimal("1.10"),
        "when": THEN,
        "size": Size.LARGE,
        "to": Address(street="Main", number=7),
    }


def test_what_the_runtime_fills_in_is_not_an_argument() -> None:
    assert ship.worker.arguments is not None
    assert ship.worker.arguments.injected == {"session": AsyncSession, "current": Job}
    with pytest.raises(InvalidArgs, match="there is no parameter 'session'"):
        JobSpec(ship, {"session": 1, "order_id": str(ORDER), "price": "1", "when": THEN.isoformat()})


def test_argument_of_a_model_is_named_with_its_path() -> None:
    with pytest.raises(InvalidArgs, match=r"ship: to\.number: .*greater than or equal to 1"):
        ship.new(ORDER, Decimal(1), THEN, to={"street": "Main", "number": 0})  # type: ignore[arg-type]


def test_extra_argument_is_refused_when_made_and_ignored_when_run() -> None:
    @job(name="tests.arguments.now")
    def run(user_id: int) -> None: ...

    with pytest.raises(InvalidArgs, match="there is no parameter 'dropped'"):
        JobSpec(run, {"user_id": 1, "dropped": 2})
    assert loaded(run, {"user_id": 1, "dropped": 2}) == {"user_id": 1}


def test_argument_that_does_not_fit_is_refused_when_run() -> None:
    with pytest.raises(InvalidArgs, match="ship: the argument 'price' is missing; the argument 'when' is missing"):
        loaded(ship, {"order_id": str(ORDER)})


def test_defaults_are_left_to_the_function() -> None:
    @job(name="tests.arguments.greet")
    def greet(user_id: int, greeting: str = "Hello") -> None: ...

    assert greet.new(7).args == {"user_id": 7}
    assert loaded(greet, {"user_id": 7}) == {"user_id": 7}


def test_function_with_keywords_takes_any() -> None:
    @job(name="tests.arguments.any")
    def anything(user_id: int, **more: Any) -> None: ...

    assert anything.new(1, a=[1], b="x").args == {"user_id": 1, "a": [1], "b": "x"}
    assert loaded(anything, {"user_id": 1, "a": 2}) == {"user_id": 1, "a": 2}


def test_of_several_keywords_that_json_can_not_carry_the_first_is_named() -> None:
    @job(name="tests.arguments.first")
    def anything(**more: Any) -> None: ...

    for first in ("a", "z"):
        with pytest.raises(InvalidArgs, match=f"anything: {first}: object, which JSON can't carry"):
            anything.new(**{name: object() for name in (first, *"bcdefghij")})


def test_parameters_without_annotations_take_what_json_can_carry() -> None:
    def bare(x, y=1):  # type: ignore[no-untyped-def]
        ...

    plain: Any = job(name="tests.arguments.bare")(cast("Callable[..., None]", bare))
    assert plain.new({"a": [1]}).args == {"x": {"a": [1]}}
    with pytest.raises(InvalidArgs, match=r"bare: x: object, which JSON can't carry; pass what identifies it"):
        plain.new(object())


class Money(BaseModel):
    currency: str

    @field_serializer("currency")
    def number(self, currency: str) -> int:
        return {"EUR": 978}[currency]


@pytest.mark.parametrize(
    ("hint", "given", "said"),
    [
        (Money, Money(currency="XXX"), "x: a serializer of Money raised KeyError"),
        (list[Money], [Money(currency="XXX")], "x: a serializer of list raised KeyError"),
        (
            Annotated[int, PlainSerializer(lambda n: {7: 1}[n])],
            8,
            "x: a serializer of int raised KeyError",
        ),
    ],
)
def test_an_error_of_a_serializer_is_shown_with_its_own_exception(hint: Any, given: Any, said: str) -> None:
    def serializing(x: Any) -> None: ...

    serializing.__annotations__["x"] = hint
    with pytest.raises(InvalidArgs) as refused:
        job(name="tests.arguments.serializing")(cast("Callable[..., None]", serializing)).new(given)
    assert str(refused.value).endswith(said)
    assert type(refused.value.__cause__) is KeyError


def test_names_are_checked_when_the_spec_is_made_even_beside_later() -> None:
    with pytest.raises(InvalidArgs, match="there is no parameter 'prize'"):
        JobSpec(ship, {"order_id": later(lambda: ORDER), "prize": 1, "price": 1, "when": THEN})
    with pytest.raises(InvalidArgs, match="the argument 'when' is missing"):
        JobSpec(ship, {"order_id": later(lambda: ORDER), "price": 1})
    with pytest.raises(InvalidArgs, match=r"price: .*got str"):
        JobSpec(ship, {"order_id": later(lambda: ORDER), "price": "much", "when": THEN})


def test_annotation_that_cannot_be_found_is_refused() -> None:
    def hidden(order: Order) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    hidden_job: Any = job(name="tests.arguments.hidden")(cast("Callable[..., None]", hidden))
    with pytest.raises(InvalidOption, match="its annotation names 'Order', which is not known where it is defined"):
        hidden_job.new(1)


def test_type_that_json_cannot_carry_is_refused() -> None:
    @job(name="tests.arguments.session", queue="plain_sessions")
    def run(session: Session, other: type[int] | None = None) -> None: ...

    assert run.worker.arguments is not None
    assert run.worker.arguments.injected == {"session": Session}
    with pytest.raises(InvalidArgs, match=r"other: .*, which JSON can't carry"):
        run.new(other=int)
