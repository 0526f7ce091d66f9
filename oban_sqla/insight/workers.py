"""The workers of a program, as their author declared them: options, parameters, and JSON schemas of the arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.kind import FIELDS
from ..workers.registry import workers
from ..workers.worker import Worker


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A registered worker.

    :ivar name: its name.
    :ivar aliases: names by which its jobs may be stored, too.
    :ivar executor: where its jobs run: ``"async"``, ``"thread"``, ``"process"``, or an executor of the user.
    :ivar parameters: the parameters of the function, without those that the runtime injects; None for a class.
    :ivar schema: the JSON schema of the arguments; None for a class, or when a type has no schema.
    :ivar options: the options of its jobs that differ from the defaults.
    :ivar timeout: most seconds of a run; None without a limit.
    :ivar deadline: most seconds from the time when a job is due to its start; None without a limit.
    :ivar cron: its expression in the crontab; None when it has none.
    :ivar recorded: whether its result is recorded.
    """

    name: str
    aliases: tuple[str, ...]
    executor: str
    parameters: str | None
    schema: Mapping[str, Any] | None
    options: Mapping[str, Any]
    timeout: float | None
    deadline: float | None
    cron: str | None
    recorded: bool

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return str(self.options.get("queue", "default"))

    @property
    def max_attempts(self) -> int:
        """How often a job of it is attempted."""
        return int(self.options.get("max_attempts", 20))


def describe_all() -> list[WorkerInfo]:
    """Every worker that this process has registered, by name."""
    return [_describe(worker) for worker in workers.distinct()]


def _describe(worker: Worker) -> WorkerInfo:
    entry = worker.cron_entry
    return WorkerInfo(
        name=worker.name,
        aliases=worker.aliases,
        executor=worker.executor,
        parameters=None if worker.arguments is None else worker.arguments.described,
        schema=None if worker.arguments is None else worker.arguments.json_schema,
        options={name: value for name, value in worker.spec_defaults.items() if name in FIELDS and name != "worker"},
        timeout=worker.timeout,
        deadline=worker.deadline,
        cron=None if entry is None else entry.expression,
        recorded=worker.recorded,
    )
