"""``job_relationship``: the jobs of a row, as a relationship of its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Enum,
    Float,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    Time,
    TypeDecorator,
    and_,
    cast,
    func,
)
from sqlalchemy.orm import Relationship, foreign, relationship, remote
from sqlalchemy.types import TypeEngine

from ..errors import InvalidOption
from ..options.job_path import JobPath
from ..types import worker_name_of
from ._sqlalchemy import allow_in_any_class
from .job import Job, jobs

_paths: dict[str, JobPath] = {}
"""What relationships compare, by its text. Written by `job_relationship`."""


def job_relationship(path: str, *, workers: object = None, **options: Any) -> Relationship[Any]:
    """Relate the rows of a class to the jobs whose arguments name them::

        class Order(Base):
            id: Mapped[int] = mapped_column(primary_key=True)
            jobs: Mapped[list[Job]] = job_relationship("args.order")

        select(Order).where(Order.jobs.any(Job.state == "retryable"))

    It is view-only: jobs are enqueued with ``session.add``. It can be loaded in all of SQLAlchemy's ways, lazily or
    eagerly, and filtered. ``migrations.index_jobs(op, "args.order")`` makes the index that it needs on a large table.

    :param path: where the job has the primary key: ``args`` or ``meta``, then one or more keys, with points between. A
        composite key is a list there, in the order of the class's primary key.
    :param workers: a worker, or a sequence of workers or of their names: only their jobs count. Default None: those of
        any worker. The row has no class, so another worker's ``args.order`` may mean something else.
    :param options: further options of SQLAlchemy's ``relationship``, such as ``lazy``, ``order_by`` or ``uselist``.
        ``init``, ``repr`` and ``compare`` are False, so that dataclasses work.
    :returns: the relationship, for an attribute annotated ``Mapped[list[Job]]`` or ``Mapped[Job | None]``.
    :raises InvalidOption: for a path that is not one, for workers that are not workers, and, when the mappers are
        configured, for a primary key without one spelling in JSON: times, fractions and bytes.
    """
    parsed = JobPath.parse(path, "job_relationship")
    names = None if workers is None else _names(workers, parsed)
    if unusable := {"viewonly", "primaryjoin", "secondary", "back_populates", "backref", "cascade"} & options.keys():
        raise InvalidOption(f"job_relationship: {min(unusable)} can't be given; the relationship is view-only")
    _paths[parsed.text] = parsed
    found: Any = None

    def join() -> ColumnElement[bool]:
        key = tuple(found.parent.primary_key)
        _check_key(key, f"job_relationship of {found.parent.class_.__name__}")
        column: Any = remote(foreign(jobs.c[parsed.column]))
        same = parsed.value(column) == _as_text(key)
        return same if names is None else and_(same, remote(jobs.c.worker).in_(names))

    plain: Any = {"init": False, "repr": False, "compare": False, **options}
    found = relationship(Job, viewonly=True, primaryjoin=join, **plain)
    if not options.keys() & {"init", "repr", "compare"} and not allow_in_any_class(found):
        found = relationship(Job, viewonly=True, primaryjoin=join, **options)
    result: Relationship[Any] = found
    return result


def related_paths() -> list[JobPath]:
    """The paths of all relationships of this process."""
    return [*_paths.values()]


def _as_text(key: Sequence[Column[Any]]) -> ColumnElement[str]:
    """As ``->>`` gives it: the key is cast to text and never the args, so that no odd row can raise."""
    if len(key) == 1:
        return cast(key[0], Text)
    # An Enum is sent without a type, and the function takes any.
    return cast(
        func.jsonb_build_array(*(cast(one, Text) if isinstance(_sent(one), Enum) else one for one in key)), Text
    )


def _sent(column: Column[Any]) -> TypeEngine[Any]:
    """The type of the values that are sent to the database."""
    kind = column.type
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return kind


def _check_key(key: Sequence[Column[Any]], what: str) -> None:
    for column in key:
        sent = _sent(column)
        is_rounded = isinstance(sent, Numeric | Float) and sent.scale != 0
        if is_rounded or isinstance(sent, DateTime | Time | Interval | LargeBinary):
            raise InvalidOption(
                f"{what}: the primary key {column.name!r} is {column.type!r}, which JSON spells in several ways; "
                "add a key of integers, text or UUIDs"
            )


def _names(workers: Any, path: JobPath) -> list[str]:
    given: list[Any] = [*workers] if isinstance(workers, list | tuple | set | frozenset) else [workers]
    for one in given:
        worker: Any = getattr(one, "worker", None)
        if getattr(worker, "encrypted", False):
            raise InvalidOption(
                f"job_relationship: {one.worker_name!r} encrypts its arguments, so no job can be found by them; "
                "put the key into meta, and relate by it"
            )
        arguments = None if path.column != "args" else getattr(worker, "arguments", None)
        if arguments is not None and worker.upcast is None and (said := arguments.no_parameter(path.keys[0])):
            raise InvalidOption(f"job_relationship({path.text!r}): {one.worker_name}: {said}")
    names: list[Any] = [one if isinstance(one, str) else worker_name_of(one) for one in given]
    if not names or not all(names):
        raise InvalidOption(
            "job_relationship: workers are functions with @job, classes with @worker, or names of workers; "
            f"got {workers!r}"
        )
    return names


__all__ = ["job_relationship", "related_paths"]
