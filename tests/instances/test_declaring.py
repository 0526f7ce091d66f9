"""What a parameter of a mapped class may be, and in which form its key is stored."""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, NewType, Protocol, Union

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, selectinload

from oban_sqla import Cron, InvalidArgs, InvalidOption, Job, JobSpec, Snooze, Workflow, job, worker
from oban_sqla.insight.workers import describe_all
from oban_sqla.workers.registry import workers
from tests.instances import models
from tests.instances.models import (
    Blob,
    Colour,
    Country,
    Employee,
    Invoice,
    Line,
    Manager,
    Order,
    Paint,
    Ticket,
    Visit,
)


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def taking(hint: Any) -> Any:
    """A worker with one parameter of this type."""

    def take(it: Any) -> None: ...

    take.__annotations__["it"] = hint
    return job(take)


@pytest.mark.parametrize(
    ("hint", "match"),
    [
        (Order | Invoice, "it: .* does not tell of which class a stored key is; write a parameter for each"),
        (Order | int, "does not tell of which class"),
        (Union[Order, int, None], "does not tell of which class"),  # noqa: UP007
        (list[Order | Line], "does not tell of which class"),
        (list[Order] | Order, "does not tell of which class"),
        (set[Order], "can't hold instances of mapped classes; they can stand alone, and in lists"),
        (dict[Order, int], "can't hold instances"),
        (Blob, "Blob.digest is bytes, which JSON can't carry"),
        (list[Job], "Job is not an argument|takes several jobs with chunk= only"),
        (JobSpec, "JobSpec is not an argument"),
        (Annotated[int, selectinload(Order.lines)], "a loader option belongs to a mapped class, got <class 'int'>"),
    ],
)
def test_a_key_that_would_not_tell_the_row_is_refused_at_decoration(hint: Any, match: str) -> None:
    with pytest.raises(InvalidOption, match=match):
        taking(hint)


@pytest.mark.parametrize(
    ("hint", "match"),
    [
        (Order | Invoice, "giving: what it returns: .* does not tell of which class a stored key is"),
        (list[Order | int], "giving: what it returns: .* does not tell of which class a stored key is"),
        (set[Order], "giving: what it returns: .* can't hold instances of mapped classes"),
        (Blob, "Blob.digest is bytes"),
    ],
)
def test_a_recorded_type_that_would_not_tell_the_row_is_refused_at_decoration(hint: Any, match: str) -> None:
    def giving() -> Any: ...

    giving.__annotations__["return"] = hint
    job(name="declaring.unrecorded")(giving)
    with pytest.raises(InvalidOption, match=match):
        job(recorded=True)(giving)


def test_a_recorded_type_may_be_an_instance_an_outcome_or_a_name_that_comes_later() -> None:
    for hint in (
        Order | None,
        list[Order],
        tuple[Order, int],
        dict[str, Order] | Snooze,
        "NotYetThere",
        Workflow | Order,
    ):

        def giving() -> Any: ...

        giving.__annotations__["return"] = hint
        job(name="declaring.recorded", recorded=True)(giving)


def test_concrete_inheritance_below_the_class_is_refused() -> None:
    class Base(DeclarativeBase): ...

    class Animal(Base):
        __tablename__ = "inst_animals"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Dog(Animal):
        __tablename__ = "inst_dogs"
        __mapper_args__ = {"concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(InvalidOption, match=r"below Animal there are classes with separate tables and keys"):
        taking(Animal)
    taking(Dog).new(Dog(id=7))

    class Fish(Base):
        __tablename__ = "inst_fish"
        id: Mapped[int] = mapped_column(primary_key=True)

    worker = taking(Fish)

    class Carp(Fish):  # after the decoration
        __tablename__ = "inst_carps"
        __mapper_args__ = {"concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises((InvalidOption, InvalidArgs), match="Fish"):
        worker.new(Carp(id=7))


class Holder(BaseModel, arbitrary_types_allowed=True):
    invoice: Invoice


class Wrapped(BaseModel, arbitrary_types_allowed=True):
    order: Order


@pytest.mark.parametrize("hint", [Holder, Wrapped, list[Holder]])
def test_a_mapped_class_inside_of_a_model_is_refused(hint: Any) -> None:
    with pytest.raises(InvalidOption, match="is mapped, and stands inside of another type"):
        taking(hint).new(None)


@pytest.mark.parametrize(
    ("hint", "stored"),
    [
        (Order, 7),
        (Order | None, None),
        (list[Order], [7, 8]),
        (Annotated[list[Order], Field(min_length=1)], [7]),
        (Annotated[list[Order] | None, selectinload(Order.lines)], [7]),
        (Sequence[Order], [7]),
        (tuple[Order, ...], [7, 8]),
        (tuple[Order, datetime], [7, "2026-01-01T00:00:00Z"]),
        (dict[str, list[Order]], {"a": [7]}),
        (Mapping[str, Order], {"a": 7}),
        (NewType("Paid", Order), 7),
        (Line, [7, 1]),
        (Country, "FR"),
        (Paint, "RED"),
        (Ticket, 7),
        (Visit, ["5e4eb9e5-2a7b-4ea9-a4ea-0c6ae6a9f5d1", "2026-01-31", True]),
    ],
)
def test_keys_are_read_where_instances_can_be_given(hint: Any, stored: Any) -> None:
    made = taking(hint)
    assert json.loads(made.new(stored).args_json) == {"it": stored}
    assert made.worker.load(json.dumps({"it": stored})).keys() == {"it"}


def written(hint: Any, instance: Any) -> Any:
    """The stored key of an instance."""
    entity = taking(hint).worker.arguments
    [name] = entity.entities
    reference = {name: _reference(instance)}
    return entity.check(reference)[name]


def _reference(instance: Any) -> Any:
    from oban_sqla.options.instance import KeyedInstance, state_of

    return KeyedInstance(instance, tuple(state_of(instance).mapper.primary_key_from_instance(instance)))


@pytest.mark.parametrize(
    ("hint", "instance", "stored"),
    [
        (Paint, Paint(colour=Colour.RED), "RED"),  # as the database has it, and not "r"
        (Ticket, Ticket(id="ord_7"), 7),
        (
            Visit,
            Visit(token=uuid.UUID(int=1), day=date(2026, 1, 31), first=False),
            ["00000000-0000-0000-0000-000000000001", "2026-01-31", False],
        ),
        (Employee, Manager(id=7), 7),
    ],
)
def test_the_form_of_a_key_is_the_databases_own(hint: Any, instance: Any, stored: Any) -> None:
    assert written(hint, instance) == stored


def test_what_is_read_is_the_value_of_the_attribute() -> None:
    for hint, stored, value in ((Paint, "RED", (Colour.RED,)), (Ticket, 7, ("ord_7",))):
        assert taking(hint).worker.load(json.dumps({"it": stored}))["it"].values == value


@pytest.mark.parametrize(
    ("hint", "given", "match"),
    [
        (Order, Country(code="fr"), "it: expected Order, got Country"),
        (Manager, Employee(), "it: expected Manager, got Employee"),
        (Order, "x", "it: expected Order or its key, got str"),
        (Order, [7], "it: expected Order or its key, got list"),
        (Line, 7, "it: expected Line or its key, got int"),
        (Line, [7, 1, 2], "expected Line or its key"),
        (Paint, "r", "expected Paint or its key"),
        (list[Order], Order(), "it: .*valid list"),
        (list[Order], [Order(), Country(code="fr")], "it.1: expected Order, got Country"),
    ],
)
def test_what_is_not_an_instance_of_the_class_is_refused_at_once(hint: Any, given: Any, match: str) -> None:
    with pytest.raises(InvalidArgs, match=match):
        taking(hint).new(given)


def test_an_instance_where_no_class_is_declared_is_refused() -> None:
    for hint in (Any, dict[str, Any], list[Any], object):
        given: Any = {"a": Order()} if hint == dict[str, Any] else [Order()] if hint == list[Any] else Order()
        with pytest.raises(InvalidArgs, match="Order, which JSON can't carry; pass what identifies it"):
            taking(hint).new(given)
    with pytest.raises(InvalidArgs, match="pass what identifies it, such as a primary key"):
        JobSpec("tests.instances.unknown", {"order": Order()})


class Summary(BaseModel, from_attributes=True):
    note: str = ""


@pytest.mark.parametrize(
    ("hint", "given"),
    [(Summary, Order()), (Summary | None, Order()), (list[Summary], [Order()]), (Summary | int, Order())],
)
def test_a_model_that_reads_attributes_takes_no_columns_of_an_instance(hint: Any, given: Any) -> None:
    with pytest.raises(InvalidArgs, match=r"\(got Order\); of a mapped instance only the key is stored"):
        taking(hint).new(given)
    assert taking(Summary).new(Summary(note="chosen")).args == {"it": {"note": "chosen"}}


class Named(Protocol):
    name: str


def test_a_type_that_pydantic_refuses_is_told_in_the_usual_words() -> None:
    with pytest.raises(InvalidOption, match="a parameter has a type that JSON can't carry: Error building"):
        taking(Named).new(Order())


def test_the_schema_of_the_args_has_the_type_of_the_key() -> None:
    schemas = {info.name: info.schema for info in describe_all()}
    named = schemas["tests.instances.models.take_line"]
    assert named is not None
    assert named["properties"]["line"]["prefixItems"] == [{"type": "integer"}, {"type": "integer"}]
    order = schemas["tests.instances.models.send_invoice"]
    assert order is not None
    assert order["properties"]["order"]["type"] == "integer"
    assert order["properties"]["order"]["description"] == "The key of Order."


def test_a_crontab_takes_keys_and_refuses_instances() -> None:
    with pytest.raises(InvalidOption, match="instances of mapped classes can't be used, because there is no flush"):
        Cron("@daily", models.send_invoice.new(Order(id=7)))
    with pytest.raises(InvalidOption, match="needs arguments"):

        @job(cron="@daily")
        def daily(order: Order) -> None: ...

    assert '"order": 7' in Cron("@daily", JobSpec(models.send_invoice, {"order": 7})).row()["spec"]


def test_missing_is_one_of_three_words_and_for_functions() -> None:
    with pytest.raises(InvalidOption, match='missing: expected "cancel", "discard" or "retry", got \'skip\''):
        job(missing="skip")(lambda: None)  # type: ignore[call-overload]  # pyright: ignore
    with pytest.raises(InvalidOption, match=r"missing: it is for functions"):

        @worker(missing="retry")
        class Report:
            def process(self, job: Job) -> None: ...


class Size(enum.Enum):
    BIG = "big"


class Odd(DeclarativeBase): ...


class Parent(Odd):
    __tablename__ = "inst_parents"
    size: Mapped[Size] = mapped_column(primary_key=True)


class Child(Odd):
    __tablename__ = "inst_children"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[Size] = mapped_column(ForeignKey("inst_parents.size"))


def test_a_key_of_a_native_enum_is_its_name() -> None:
    assert written(Parent, Parent(size=Size.BIG)) == "BIG"
