"""The options of a runtime, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ..enqueueing.wakeup import Notify
from ..errors import InvalidOption, UnsupportedDatabase
from ..models.base import checked_schema
from ..models.checks import check_name
from ..options.duration import seconds
from ..options.encryption import Encryption, checked_encryption
from ..options.heartbeat import Heartbeat
from ..options.job_logs import JobLogs, checked_job_logs
from ..options.prioritize import Prioritize
from ..options.processes import Processes
from ..options.prune import Prune
from ..options.queue import Queue, checked_queues
from ..options.resources import Resource, checked_resources
from ..options.sessionmakers import SessionMaker, checked_makers
from ..statements.identify import schema_of
from ..workers.cron import Cron, by_name
from ..workers.hooks import checked_hooks
from .share import Share, default_node, share

LONGEST = 3600.0
"""Seconds of most times; the others have no limit."""

_TIMES = {"shutdown_grace": 0, "start_timeout": 0, "poll_interval": 0.01, "leader_ttl": 0.1, "lifeline_interval": 0.1}
"""By option, the shortest; 0 where nothing limits it."""


@dataclass(frozen=True, slots=True)
class Config:
    """What :class:`Oban` was given; documented there.

    :raises InvalidOption: for a value that an option can't have.
    """

    queues: Mapping[str, Queue] = field(default_factory=dict[str, Queue])
    sessionmaker: tuple[SessionMaker, ...] = ()
    name: str = "Oban"
    node: str = ""
    notify: Notify = "auto"
    shutdown_grace: float = 15.0
    leader_ttl: float = 15.0
    leadership: bool = True
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    lifeline_interval: float = 5.0
    poll_interval: float = 1.0
    prune: Prune | None = field(default_factory=Prune)
    prioritize: Prioritize | None = None
    crontab: tuple[Cron, ...] = ()
    hooks: tuple[object, ...] = ()
    start_timeout: float = 10.0
    log_exceptions: bool = True
    metrics: bool = False
    processes: Processes = field(default_factory=Processes)
    executors: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resources: Mapping[Any, Resource] = field(default_factory=dict[Any, Resource])
    encryption: Encryption | None = None
    job_logs: JobLogs | None = None
    share: Share = field(default_factory=share)

    @classmethod
    def checked(
        cls,
        *,
        queues: Mapping[str, int | Queue] | None,
        node: str | None,
        crontab: Sequence[Cron] | None = None,
        **options: Any,
    ) -> Config:
        """A config of options as users write them."""
        if crontab is not None and not isinstance(crontab, list | tuple):
            raise InvalidOption(f"Oban: crontab must be a list of Cron(…), got {crontab!r}")
        if node is None:
            node = share().node or default_node()
        options["hooks"] = checked_hooks(options.get("hooks"), "Oban")
        options["crontab"] = tuple(crontab or ())
        options["encryption"] = checked_encryption(options.get("encryption"))
        options["sessionmaker"] = checked_makers(options.get("sessionmaker"))
        options["resources"] = checked_resources(options.get("resources"))
        named = checked_queues(queues)
        return cls(queues=named, node=node, **options)

    def __post_init__(self) -> None:
        for option in ("name", "node"):
            value: object = getattr(self, option)
            if not isinstance(value, str) or not value.strip():
                raise InvalidOption(f"Oban: {option} must be a name, got {value!r}")
            check_name(f"Oban({option})", value)
        for name in self.queues:
            check_name("queues", name)
        if self.notify not in ("auto", "transaction", "off"):
            raise InvalidOption(f'Oban: notify must be "auto", "transaction" or "off", got {self.notify!r}')
        for option, least in _TIMES.items():
            given: object = getattr(self, option)
            length = seconds(given, f"Oban({option})")
            if least and not least <= length <= LONGEST:
                raise InvalidOption(f"Oban: {option} must be {least:g} to {LONGEST:g} seconds, got {given!r}")
            object.__setattr__(self, option, length)
        heartbeat: object = self.heartbeat
        if not isinstance(heartbeat, Heartbeat):
            raise InvalidOption(f"Oban: heartbeat must be Heartbeat(…), got {heartbeat!r}")
        prune: object = self.prune
        if not (prune is None or isinstance(prune, Prune)):
            raise InvalidOption(f"Oban: prune must be Prune(…), or None to turn it off, got {prune!r}")
        prioritize: object = self.prioritize
        if not (prioritize is None or isinstance(prioritize, Prioritize)):
            raise InvalidOption(f"Oban: prioritize must be Prioritize(…), or None to turn it off, got {prioritize!r}")
        for cron in cast(tuple[object, ...], self.crontab):
            if not isinstance(cron, Cron):
                raise InvalidOption(f"Oban: crontab must be a list of Cron(…), got {cron!r} in it")
        by_name((), self.crontab)
        for option in ("leadership", "log_exceptions", "metrics"):
            if not isinstance(getattr(self, option), bool):
                raise InvalidOption(f"Oban: {option} must be True or False, got {getattr(self, option)!r}")
        processes: object = self.processes
        if not isinstance(processes, Processes):
            raise InvalidOption(f"Oban: processes=Processes(…) expected, got {processes!r}")
        checked_job_logs(self.job_logs, "Oban")
        _check_executors(self.executors)


def _check_executors(given: object) -> None:
    if not isinstance(given, Mapping):
        raise InvalidOption(f'Oban: executors is a mapping such as {{"gpu": MyExecutor()}}, got {given!r}')
    for name, executor in cast(Mapping[object, object], given).items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidOption(f"Oban: the name of an executor is text, got {name!r}")
        if name in RESERVED:
            raise InvalidOption(f"Oban: every runtime has an executor {name!r}; give yours another name")
        missing = [each for each in ("start", "submit", "kill", "stop") if not callable(getattr(executor, each, None))]
        if isinstance(executor, type) or missing:
            what = f"has no {', '.join(missing)}" if missing else "is a class; give an object"
            raise InvalidOption(f"Oban: the executor {name!r} {what}; see oban_sqla.executors.Executor")


RESERVED = ("auto", "async", "thread", "process")
OPTIONS = tuple(option.name for option in fields(Config) if option.name != "share")


def checked_engine(engine: object) -> AsyncEngine:
    """`engine`, as a node needs it.

    :raises InvalidOption: for anything but an ``AsyncEngine``, and for the name of a schema that is not valid.
    :raises UnsupportedDatabase: for an engine on another database.
    """
    if isinstance(engine, Engine):
        raise InvalidOption(
            "Oban: the engine is synchronous, and a node needs an asynchronous one; "
            f"make it with create_async_engine({str(engine.url.set(drivername='postgresql+asyncpg'))!r})"
        )
    if not isinstance(engine, AsyncEngine):
        if isinstance(engine, str | URL):  # which may have a password, and is left out for it
            raise InvalidOption(
                "Oban: expected an AsyncEngine, got a URL; make it with create_async_engine(async_url(…))"
            )
        raise InvalidOption(f"Oban: expected an AsyncEngine, got {engine!r}; make it with create_async_engine(…)")
    if engine.dialect.name != "postgresql":
        raise UnsupportedDatabase(f"Oban: jobs need PostgreSQL, this engine speaks to {engine.dialect.name}")
    if (schema := schema_of(engine.sync_engine)) is not None:
        checked_schema(schema, "Oban: the engine's schema_translate_map")
    return engine
