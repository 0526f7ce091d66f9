"""What is used of SQLAlchemy beyond its public names is there; and where it is not, jobs are enqueued all the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, event, inspect, make_url, select
from sqlalchemy.orm import Session, UOWTransaction

from oban_sqla import Job, JobSpec
from oban_sqla.enqueueing import _sqlalchemy
from oban_sqla.models import _sqlalchemy as of_models
from tests.enqueueing import test_unit_of_work
from tests.enqueueing.application import Letter, User
from tests.enqueueing.conftest import Run, recorded
from tests.enqueueing.test_unit_of_work import workers
from tests.processes import finished

OWNERS: dict[str, Callable[[], object]] = {
    "Session": Session,
    "UOWTransaction": lambda: UOWTransaction(Session()),
    "InstanceState": lambda: inspect(JobSpec("w")),
    "MetaData": MetaData,
    "Connection": lambda: Connection,
}
NAMES = [
    "Session._new",
    "Session._expunge_states",
    "UOWTransaction.states",
    "InstanceState.class_",
    "MetaData._add_table",
    "Connection._handle_dbapi_exception",
]


@pytest.mark.parametrize("name", NAMES)
def test_sqlalchemy_has_the_private_name(name: str) -> None:
    owner, _, attribute = name.partition(".")
    assert getattr(OWNERS[owner](), attribute, None) is not None, (
        f"{name} is gone: write what it was for anew, or drop it for its public way"
    )
    assert of_models.private(Session(), "_no_such_name") is None


def test_the_state_of_a_spec_is_made_when_a_session_asks_for_it() -> None:
    assert not hasattr(JobSpec.__init__, "_sa_original_init"), "the mapper's __init__ makes the state of each spec"
    spec = JobSpec("w")
    assert "_sa_instance_state" not in vars(spec)
    assert spec.session is None
    assert "_sa_instance_state" not in vars(spec)


OF_FLUSHES = {"_new", "states", "_expunge_states"}


def without(monkeypatch: pytest.MonkeyPatch, missing: set[str]) -> None:
    def private(owner: object, name: str) -> object:
        return None if name in missing else of_models.private(owner, name)

    monkeypatch.setattr(_sqlalchemy, "private", private)


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All private names of sessions and flushes are gone."""
    without(monkeypatch, OF_FLUSHES)


@pytest.mark.parametrize(("instance", "expected"), [(JobSpec("w"), True), (User(), False)])
def test_a_spec_is_known_by_its_state(instance: object, expected: bool) -> None:
    state: Any = inspect(instance)
    assert _sqlalchemy.is_spec(state) is expected
    without_class: Any = SimpleNamespace(object=instance)
    assert _sqlalchemy.is_spec(without_class) is expected


@pytest.mark.parametrize("name", sorted(OF_FLUSHES))
def test_one_missing_name_is_enough_for_the_public_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen() -> type[object]:
        session = Session()
        return type(_sqlalchemy.claims_of(session, UOWTransaction(session)))

    assert chosen() is _sqlalchemy.Listed
    without(monkeypatch, {name})
    assert chosen() is _sqlalchemy.Held


# What is different then, and tested below.
DIFFERENT = (
    test_unit_of_work.test_flush_of_chosen_objects_leaves_the_other_specs_pending,
    test_unit_of_work.test_specs_stay_pending_when_a_listener_refuses_the_flush,
)
PROMISES = {
    name: promise
    for name, promise in vars(test_unit_of_work).items()
    if name.startswith("test_") and promise not in DIFFERENT
}


@pytest.mark.parametrize("promise", PROMISES)
def test_promise_is_kept_without_private_names(promise: str, gone: None, run_once: Run) -> None:
    PROMISES[promise](run_once)


def test_specs_of_a_refused_flush_are_written_by_the_next_one(gone: None, run_once: Run) -> None:
    def scenario(session: Session) -> None:
        @event.listens_for(session, "before_flush", once=True)
        def refuse(*_: object) -> None:
            raise LookupError

        session.add(JobSpec("refused"))
        with pytest.raises(LookupError):
            session.flush()
        session.add(JobSpec("later"))
        session.commit()

    run_once(scenario)

    assert run_once(workers) == ["refused", "later"]


def test_specs_of_a_refused_flush_go_with_the_rollback(gone: None, run_once: Run) -> None:
    def scenario(session: Session) -> None:
        @event.listens_for(session, "before_flush", once=True)
        def refuse(*_: object) -> None:
            raise LookupError

        session.add(JobSpec("refused"))
        with pytest.raises(LookupError):
            session.flush()
        session.rollback()
        session.add(User(name="ada"))
        session.commit()
        assert not [one for one in session if isinstance(one, Job)]

    run_once(scenario)

    assert run_once(workers) == []


def test_specs_that_were_chosen_for_a_flush_are_written_at_the_commit(gone: None, run_once: Run) -> None:
    def scenario(session: Session) -> None:
        user, chosen, other = User(name="ada"), JobSpec("chosen"), JobSpec("other")
        session.add_all([user, chosen, other])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy 2.1 deprecates the parameter
            session.flush([user])
            session.flush([chosen])
        session.commit()

    run_once(scenario)

    assert run_once(workers) == ["chosen", "other"]


def test_sessions_without_specs_work_as_always(gone: None, run_once: Run) -> None:
    def scenario(session: Session) -> tuple[list[str], int]:
        user = User(name="ada", letters=[Letter(), Letter()])
        with recorded(session) as statements:
            session.add(user)
            session.flush()
            user.name = "grace"
            session.delete(user.letters[0])
            with session.begin_nested():
                session.merge(Letter(id=4711, user_id=user.id))
            session.commit()
        return statements, len(session.new) + len(session.dirty)

    statements, left = run_once(scenario)
    assert left == 0
    assert not [statement for statement in statements if "oban" in statement]
    assert run_once(lambda session: session.scalars(select(User.name)).all()) == ["grace"]


# In a process of its own: the models are mapped when they are imported.
PROGRAM = """
import copy, json, sys
from typing import TypeVar
import sqlalchemy.orm
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

made = sqlalchemy.orm.InstanceState
T = TypeVar("T")


class OfAnotherVersion(made[T]):
    def __init__(self, *arguments):
        raise TypeError("it takes other arguments")


sqlalchemy.orm.InstanceState = OfAnotherVersion
import oban_sqla.models._sqlalchemy as of_models
from oban_sqla import Job, JobSpec, enqueue, job, metadata, use_schema

sqlalchemy.orm.InstanceState = made
of_models.private = lambda owner, name: None
use_schema("jobs")


@job(name="hello")
def hello(name: str) -> None: ...


said = {"by the mapper": "_sa_instance_state" in vars(JobSpec("w")), "session": JobSpec("w").session is None}
said["tables"] = sorted(table.schema for table in metadata.tables.values())
engine = create_engine(sys.argv[1])
with Session(engine.execution_options(schema_translate_map={"jobs": None})) as session:
    session.add(spec := hello.options(priority=3).new("ada"))
    assert spec.session is session
    session.commit()
    [second] = enqueue(session, hello.new("grace"))
    session.add(third := copy.copy(spec))
    session.commit()
    found = session.scalars(select(Job).order_by(Job.id)).all()
    said["jobs"] = [(one.worker, one.args, one.priority) for one in found]
    said["ids"] = [one.id for one in found] == [spec.id, second.id, third.id]
print(json.dumps(said))
"""


def test_specs_are_enqueued_when_their_state_is_made_by_the_mapper(
    database_url: str, application: None, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    url = make_url(database_url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    ran = finished([str(tmp_path / "program.py"), url], fresh=True)
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    assert set(said.pop("tables")) == {"jobs"}
    assert said == {
        "by the mapper": True,
        "session": True,
        "jobs": [["hello", {"name": "ada"}, 3], ["hello", {"name": "grace"}, 0], ["hello", {"name": "ada"}, 3]],
        "ids": True,
    }
