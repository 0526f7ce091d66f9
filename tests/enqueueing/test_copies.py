"""A spec is what it was when it was made, and each copy of it is another job."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from oban_sqla import Job, JobSpec, Unique, enqueue, job, later
from tests.enqueueing.conftest import Run


@job(name="tests.copies.sync")
def sync(id: int, names: list[str] | None = None) -> None: ...


def stored_args(session: Session) -> list[dict[str, Any]]:
    return list(session.scalars(select(Job.args).order_by(Job.id)))


COPIES: dict[str, Callable[[JobSpec], JobSpec]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda spec: pickle.loads(pickle.dumps(spec)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("enqueued", [True, False])
def test_three_copies_of_a_spec_are_three_jobs(run: Run, way: str, enqueued: bool) -> None:
    def scenario(session: Session) -> None:
        spec = sync.options(queue="slow").new(7)
        session.add(spec)
        if enqueued:
            session.flush()
        copies = [COPIES[way](spec) for _ in range(3)]
        assert [(one.args, one.queue, one.conflict) for one in copies] == [({"id": 7}, "slow", False)] * 3
        session.add_all(copies)
        session.commit()
        assert len({spec.id, *(one.id for one in copies)}) == 4
        assert stored_args(session) == [{"id": 7}] * 4

    run(scenario)


@pytest.mark.parametrize("way", ["copy", "deepcopy"])
def test_copy_has_no_id_until_it_is_enqueued(run_once: Run, way: str) -> None:
    def scenario(session: Session) -> None:
        first = JobSpec("sync", unique=Unique())
        second = copy.copy(first)
        session.add_all([first, second])
        session.flush()
        assert second.conflict
        again = COPIES[way](second)
        assert (again.id, again.state, again.conflict) == (None, None, False)

    run_once(scenario)


def test_copy_of_a_spec_with_a_placeholder_fills_it_in_anew(run_once: Run) -> None:
    numbers = iter([1, 2])

    def scenario(session: Session) -> None:
        spec = sync.new(later(lambda: next(numbers)))
        session.add_all([spec, copy.copy(spec)])
        session.commit()
        assert stored_args(session) == [{"id": 1}, {"id": 2}]

    run_once(scenario)


def test_one_dict_changed_for_each_spec_gives_each_job_its_key(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        args: dict[str, Any] = {}
        specs: list[JobSpec] = []
        for number in (1, 2, 3, 1):
            args["id"] = number
            specs.append(JobSpec("sync", args, unique=Unique()))
        session.add_all(specs)
        session.commit()
        assert [spec.conflict for spec in specs] == [False, False, False, True]
        assert sorted(args["id"] for args in stored_args(session)) == [1, 2, 3]

    run_once(scenario)


@pytest.mark.parametrize("placeholder", [False, True])
def test_what_is_changed_after_the_spec_was_made_is_not_in_the_job(run_once: Run, placeholder: bool) -> None:
    def scenario(session: Session) -> None:
        names, meta = ["ada"], {"a": [1]}
        id: Any = later(lambda: 7) if placeholder else 7
        plain = JobSpec("sync", {"id": id, "names": names}, meta=meta)
        typed = sync.new(id, names)
        names.append("grace")
        meta["a"].append(2)
        enqueue(session, plain, typed)
        assert stored_args(session) == [{"id": 7, "names": ["ada"]}] * 2
        assert (plain.args, plain.meta) == ({"id": 7, "names": ["ada"]}, {"a": [1]})

    run_once(scenario)


def test_args_that_are_read_are_not_the_ones_that_are_stored(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        spec = JobSpec("sync", {"ids": [1]}, unique=Unique())
        spec.args["ids"].append(2)
        session.add(spec)
        session.commit()
        assert stored_args(session) == [{"ids": [1]}]
        assert spec.args == {"ids": [1]}

    run_once(scenario)


def test_choices_of_unique_are_kept_as_they_were(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        fields: list[Any] = ["worker", "args"]
        keys, states = ["id"], ["available"]
        unique = Unique(fields=fields, keys=keys, states=states)
        first = JobSpec("sync", {"id": 1, "b": 1}, unique=unique)
        fields.remove("args")
        keys.append("b")
        states.append("executing")
        assert (unique.fields, unique.keys, unique.states) == (("worker", "args"), ("id",), ("available",))
        session.add_all([first, second := JobSpec("sync", {"id": 1, "b": 2}, unique=unique)])
        session.commit()
        assert second.conflict

    run_once(scenario)
