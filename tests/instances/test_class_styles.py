"""No column of an instance reaches a row, an error or a log, whatever the class is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from oban_sqla import Batch, InvalidArgs, InvalidOption, JobSpec, enqueue, job
from oban_sqla.testing import drain, perform
from oban_sqla.workers.registry import workers
from tests.instances.conftest import Run
from tests.instances.models import SECRET, Base, Customer, Invoice, Order, Parcel


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def _with_sqlmodel() -> Any:
    sqlmodel: Any = pytest.importorskip("sqlmodel")
    if "inst_heroes" in Base.metadata.tables:
        return _made[0]
    # Made by a call: the types of the package are not known where it is not installed.
    fields = {"id": int | None, "card": str}
    name = {"__tablename__": "inst_heroes", "__module__": __name__, "metadata": Base.metadata}
    values = {"id": sqlmodel.Field(default=None, primary_key=True), "card": SECRET}
    kind = type(sqlmodel.SQLModel)(
        "Hero", (sqlmodel.SQLModel,), {**name, "__annotations__": fields, **values}, table=True
    )
    _made.append(kind)
    return kind


_made: list[Any] = []
STYLES = {
    "declarative": lambda: Order,
    "MappedAsDataclass": lambda: Invoice,
    "imperative": lambda: Customer,
    "imperative dataclass": lambda: Parcel,
    "SQLModel": _with_sqlmodel,
}


@pytest.fixture(params=STYLES)
def kind(request: pytest.FixtureRequest) -> Any:
    """A mapped class with a column that no one else may see."""
    return STYLES[request.param]()


def everything(session: Session) -> str:
    """All that the tables of jobs have, as text."""
    return str(session.execute(text("SELECT to_jsonb(j) FROM oban_jobs j ORDER BY id")).all())


def test_only_the_key_is_stored_and_the_instance_comes_back(run: Run, kind: Any) -> None:
    seen: list[Any] = []

    def take(one: Any, some: Any, by_name: Any) -> None:
        seen.append((one, some, by_name))

    take.__annotations__ = {"one": kind, "some": list[kind], "by_name": dict[str, kind | None]}
    worker: Any = job(take)

    def scenario(session: Session) -> None:
        instance = kind()
        session.add(instance)
        spec = worker.new(instance, [instance], {"a": instance, "b": None})
        session.add(spec)
        session.flush()
        key = instance.id
        assert spec.args == {"one": key, "some": [key], "by_name": {"a": key, "b": None}}
        assert SECRET not in everything(session)
        assert drain(session) == {"completed": 1}
        [(one, some, by_name)] = seen
        assert type(one) is kind
        assert (one.id, one.card) == (key, SECRET)
        assert some[0] is by_name["a"]
        assert SECRET not in everything(session)

    run(scenario)


def test_each_state_of_an_instance_gives_its_key_or_is_refused(run: Run, kind: Any) -> None:
    """The table of tests/instances/test_which_key.py, for classes whose instances have no hash or are equal."""

    def take(one: Any) -> None: ...

    take.__annotations__ = {"one": kind}
    worker: Any = job(take)

    def key(session: Session, instance: Any) -> Any:
        spec = worker.new(instance)
        session.add(spec)
        session.flush()
        return spec.args["one"]

    def refused(session: Session, instance: Any, reason: str) -> None:
        session.commit()  # what the refused flush takes back is the job alone
        with pytest.raises(InvalidArgs, match=reason):
            key(session, instance)
        session.rollback()

    def scenario(session: Session) -> None:
        new, equal = kind(), kind()
        session.add_all([new, equal])
        assert key(session, new) == new.id != key(session, equal) == equal.id
        number = new.id
        session.commit()
        assert key(session, new) == number  # expired
        session.expunge(new)
        assert key(session, new) == number  # detached
        session.commit()
        ghost = kind()
        session.add(ghost)
        session.flush()
        session.rollback()
        refused(session, ghost, "rolled back")
        refused(session, kind(), "was added to no session")
        gone = session.get_one(kind, number)
        session.delete(gone)
        with pytest.raises(InvalidArgs, match="is deleted"):
            key(session, gone)
        session.rollback()
        session.delete(gone)
        session.flush()
        refused(session, gone, "is deleted")

    run(scenario)


def test_an_instance_is_handed_to_a_job_in_a_test_as_it_is(kind: Any) -> None:
    async def take(one: Any) -> Any:
        return one

    take.__annotations__ = {"one": kind}
    instance = kind()
    assert asyncio.run(perform(job(take).new(instance))) is instance


def test_no_message_shows_a_column(run_once: Run, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def take(one: Any, number: int) -> None: ...

    take.__annotations__ = {"one": kind, "number": int}
    worker: Any = job(take)
    instance = kind()
    messages: list[str] = []
    for args in ((instance, "x"), (instance, instance), ([instance], 1)):
        with pytest.raises(InvalidArgs) as refused:
            worker.new(*args)
        messages.append(str(refused.value))

    def scenario(session: Session) -> None:
        spec = worker.new(instance, 1)
        messages.extend([repr(spec), repr(spec.args), str(spec.args)])
        session.add(spec)
        with pytest.raises(InvalidArgs) as refused:
            session.flush()
        messages.append(str(refused.value))

        for wrong in (lambda: enqueue(session, instance), lambda: Batch([instance]), lambda: JobSpec(instance)):
            with pytest.raises(InvalidOption) as mistaken:
                wrong()
            messages.append(str(mistaken.value))

    run_once(scenario)
    assert SECRET not in "".join(messages)
    assert SECRET not in caplog.text
