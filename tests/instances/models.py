"""The mapped classes of the tests, of every style, and jobs that take their instances."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import date
from typing import Annotated, Any

from sqlalchemy import Column, Dialect, Enum, ForeignKey, Integer, LargeBinary, Table, Text, TypeDecorator
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
    registry,
    relationship,
    selectinload,
)

from oban_sqla import Job, injected, job

SECRET = "4000-0000-0000-0002"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "inst_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    card: Mapped[str] = mapped_column(default=SECRET)
    lines: Mapped[list[Line]] = relationship(order_by="Line.number")


class Line(Base):
    __tablename__ = "inst_lines"

    order_id: Mapped[int] = mapped_column(ForeignKey("inst_orders.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default=SECRET)


class Country(Base):
    __tablename__ = "inst_countries"

    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default=SECRET)


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Prefixed(TypeDecorator[str]):
    """``"ord_7"`` for the program, 7 for the database."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value.removeprefix("ord_"))

    def process_result_value(self, value: int | None, dialect: Dialect) -> str | None:
        return None if value is None else f"ord_{value}"


class Paint(Base):
    __tablename__ = "inst_paints"

    colour: Mapped[Colour] = mapped_column(Enum(Colour, native_enum=False), primary_key=True)


class Ticket(Base):
    __tablename__ = "inst_tickets"

    id: Mapped[str] = mapped_column(Prefixed, primary_key=True)


class Visit(Base):
    __tablename__ = "inst_visits"

    token: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    first: Mapped[bool] = mapped_column(primary_key=True)


class Blob(Base):
    __tablename__ = "inst_blobs"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)


class Employee(Base):
    __tablename__ = "inst_employees"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]


class Manager(Employee):
    __tablename__ = "inst_managers"
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(ForeignKey("inst_employees.id"), primary_key=True)
    budget: Mapped[int] = mapped_column(default=0)


class Clerk(Employee):
    __mapper_args__ = {"polymorphic_identity": "clerk"}  # noqa: RUF012

    desk: Mapped[str | None]


class DataBase(MappedAsDataclass, DeclarativeBase):
    metadata = Base.metadata


class Invoice(DataBase):
    __tablename__ = "inst_invoices"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    card: Mapped[str] = mapped_column(default=SECRET)


class Customer:
    """Mapped imperatively."""

    id: int
    card: str

    def __init__(self, card: str = SECRET) -> None:
        self.card = card


@dataclasses.dataclass
class Parcel:
    """A dataclass that is mapped imperatively."""

    card: str = SECRET
    id: int | None = None


_imperative = registry(metadata=Base.metadata)
_imperative.map_imperatively(
    Customer,
    Table("inst_customers", Base.metadata, Column("id", Integer, primary_key=True), Column("card", Text)),
)
_imperative.map_imperatively(
    Parcel,
    Table("inst_parcels", Base.metadata, Column("id", Integer, primary_key=True), Column("card", Text)),
)


calls: list[Any] = []
"""What the jobs were given."""


@job(queue="instances")
async def send_invoice(order: Annotated[Order, selectinload(Order.lines)]) -> None:
    calls.append(order)


@job(queue="instances")
async def close_order(order: Order, session: AsyncSession = injected()) -> None:
    calls.append((order, order in session))
    order.card = "closed"


@job(queue="plainly")
def close_plainly(order: Order, session: Session = injected()) -> None:
    calls.append((order, order in session))
    order.card = "closed"


@job(queue="instances")
def print_order(order: Annotated[Order, selectinload(Order.lines)]) -> None:
    calls.append(order)


@job(queue="instances")
def take_many(orders: list[Order], by_name: dict[str, Order] | None = None, last: Order | None = None) -> None:
    calls.append((orders, by_name, last))


@job(queue="instances")
def take_country(country: Country) -> None:
    calls.append(country)


@job(queue="instances")
def take_line(line: Line, current: Job = injected()) -> None:
    calls.append((line, current.args))


@job(queue="instances")
def take_employee(employee: Employee) -> None:
    calls.append(employee)
