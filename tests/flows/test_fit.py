"""A part of a result is named as JSON has it, whatever the class calls it; in doubt it is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oban_sqla import Job, Workflow, job
from oban_sqla.models.fit import fits, part
from oban_sqla.testing import drain


class Page(BaseModel):
    model_config = ConfigDict(extra="allow")
    home_page: str = Field(alias="homePage")
    size: int
    secret: str = Field(default="", exclude=True)

    @computed_field
    def host(self) -> str:
        return self.home_page.split("/")[2]

    @field_serializer("size")
    def _size(self, size: int) -> str:
        return f"{size} kB"


class Strict(BaseModel):
    home_page: str = Field(alias="homePage")


class Ids(RootModel[list[int]]): ...


class Odd(BaseModel):
    number: int

    @model_serializer
    def _as_list(self) -> list[int]:
        return [self.number]

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, given: list[int]) -> dict[str, int]:
        return {"number": given[0]}


class Plain(BaseModel):
    number: int


@dataclass
class Row:
    number: Annotated[int, Field(alias="no")]
    text: Annotated[int, PlainSerializer(str)] = 0


class Typed(TypedDict):
    number: NotRequired[int]


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "fit_orders"
    id: Mapped[int] = mapped_column(primary_key=True)


class Line(Base):
    __tablename__ = "fit_lines"
    order_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


@pytest.mark.parametrize(
    ("of", "key", "fitting", "other"),
    [
        (Page, "homePage", str, int),
        (Page, "size", str, None),
        (Page, "host", str, int),
        (Page, "added", int, None),
        (Ids, 0, int, str),
        (Odd, 0, int, None),
        (Row, "no", int, str),
        (Row, "text", str, None),
        (Typed, "number", int, str),
        (list[Order], 0, Order, Line),
        (Line, 1, int, None),
    ],
)
def test_a_part_is_one_that_json_has(of: Any, key: str | int, fitting: Any, other: Any) -> None:
    found, missing = part(of, [key])
    assert missing is None
    assert fits(found, fitting)
    assert other is None or not fits(found, other)


@pytest.mark.parametrize(
    ("of", "key", "said"),
    [
        (Plain, "text", "Plain has no 'text'; it has number"),
        (Plain, 0, "Plain has no places"),
        (Strict, "home_page", "Strict has no 'home_page'; it has homePage"),
        (Row, "number", "Row has no 'number'; it has no, text"),
        (Typed, "text", "Typed has no 'text'; it has number"),
        (Order, "id", "of an instance of Order only the key is kept, and no 'id'; pass the result whole"),
        (Order | None, "id", "to a parameter of the type Order"),
    ],
)
def test_a_part_that_json_does_not_have_is_refused(of: Any, key: str | int, said: str) -> None:
    assert said in (part(of, [key])[1] or "")


@pytest.mark.parametrize(
    ("result", "parameter", "expected"),
    [
        (Ids, list[int], True), (Ids, int, False), (list[int], Odd, True), (Odd, int, True), (Plain, int, False),
        (Order, Order | None, True), (Order, Line, False), (list[Order], list[Line], False), (Order, int, True),
        (Order, Base, True), (Order, Plain, False), (Row, Order, False), (Odd, Line, True), (int, Order, True),
    ],
)  # fmt: skip
def test_a_model_is_what_it_is_as_json(result: Any, parameter: Any, expected: bool) -> None:
    assert fits(result, parameter) is expected


@job(name="fit.load")
async def load() -> Page:
    return Page.model_validate({"homePage": "https://example.org/a", "size": 3, "added": 7})


@job(name="fit.ids")
async def ids() -> Ids:
    return Ids([7, 8])


@job(name="fit.takes", recorded=True)
async def takes(value: str) -> str:
    return value


@job(name="fit.number", recorded=True)
async def number(value: int) -> int:
    return value


async def test_parts_of_models_reach_the_jobs_that_take_them(engine: AsyncEngine) -> None:
    flow = Workflow("fit")
    page: Any = flow.add(load.new()).result
    numbers: Any = flow.add(ids.new()).result
    names = {"alias": "homePage", "made": "size", "computed": "host"}
    for name, key in names.items():
        flow.add(takes.new(page[key]), name=name)
    flow.add(number.new(page["added"]), name="extra")
    flow.add(number.new(numbers[1]), name="root")
    make: Callable[[Any], Any] = number.new
    flow.map(make, over=numbers, name="each")
    async with AsyncSession(engine) as session:
        session.add(flow)
        await drain(session)
        rows = await session.execute(select(Job.node_name, Job.meta["return"]).where(Job.worker.like("fit.%")))
        found = {name: value for name, value in rows if name in (*names, "extra", "root", "0", "1")}
    assert found == {
        "alias": "https://example.org/a", "made": "3 kB", "computed": "example.org", "extra": 7, "root": 8,
        "0": 7, "1": 8,
    }  # fmt: skip
