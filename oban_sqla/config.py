"""The options of a runtime, checked once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import sessionmaker

from .cron import Cron, by_name
from .errors import InvalidOption
from .hooks import checked_hooks
from .limits import Queue, as_queue
from .outcomes import seconds
from .retention import Prune

Notify = Literal["auto", "transaction", "off"]
SessionMaker = async_sessionmaker[Any] | sessionmaker[Any]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a node shows that it is alive.

    :param interval: seconds from one sign to the next, more than 0. Default 5.
    :param stale_after: seconds without a sign after which a node is dead if its connection is gone, too. At least
        twice the interval. Default 15.
    :param dead_after: seconds without a sign after which a node is dead whatever its connection looks like; for
        networks that never tell. At least twice the interval. Default 3600.
    :raises InvalidOption: for values outside these.
    """

    interval: float = 5.0
    stale_after: float = 15.0
    dead_after: float = 3600.0

    def __post_init__(self) -> None:
        for option in ("interval", "stale_after", "dead_after"):
            if not seconds(getattr(self, option), f"Heartbeat({option})") > 0:
                raise InvalidOption(f"Heartbeat: {option} is seconds above 0, got {getattr(self, option)!r}")
        for option in ("stale_after", "dead_after"):
            if getattr(self, option) < 2 * self.interval:
                raise InvalidOption(
                    f"Heartbeat: {option} is at least twice the interval ({2 * self.interval:g} s), so that one late "
                    f"sign is no death; got {getattr(self, option)!r}"
                )


@dataclass(frozen=True, slots=True)
class Config:
    """What :class:`Oban` was given; documented there.

    :raises InvalidOption: for a value that an option can't have.
    """

    queues: Mapping[str, Queue] = field(default_factory=dict[str, Queue])
    sessionmaker: SessionMaker | None = None
    name: str = "Oban"
    node: str = ""
    notify: Notify = "auto"
    shutdown_grace: float = 15.0
    leader_ttl: float = 15.0
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    lifeline_interval: float = 5.0
    poll_interval: float = 1.0
    prune: Prune | None = field(default_factory=Prune)
    crontab: tuple[Cron, ...] = ()
    hooks: tuple[object, ...] = ()
    start_timeout: float = 10.0

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
        if isinstance(crontab, Mapping | str | Cron):
            raise InvalidOption(f"Oban: crontab is a list of Cron(…), got {crontab!r}")
        options["hooks"] = checked_hooks(options.get("hooks"), "Oban")
        options["crontab"] = tuple(crontab or ())
        named = {name: as_queue(name, given) for name, given in (queues or {}).items()}
        return cls(queues=named, node=f"{socket.gethostname()}.{os.getpid()}" if node is None else node, **options)

    def __post_init__(self) -> None:
        for option in ("name", "node"):
            value: object = getattr(self, option)
            if not isinstance(value, str) or not value.strip():
                raise InvalidOption(f"Oban: {option} is a name, got {value!r}")
        if self.notify not in ("auto", "transaction", "off"):
            raise InvalidOption(f'Oban: notify must be "auto", "transaction" or "off", got {self.notify!r}')
        for option in ("shutdown_grace", "start_timeout", "poll_interval"):
            seconds(getattr(self, option), f"Oban({option})")
        if not 0.01 <= self.poll_interval <= 3600:
            raise InvalidOption(f"Oban: poll_interval is 0.01 to 3600 seconds, got {self.poll_interval!r}")
        for option in ("leader_ttl", "lifeline_interval"):
            if not 0.1 <= seconds(getattr(self, option), f"Oban({option})") <= 3600:
                raise InvalidOption(f"Oban: {option} is 0.1 to 3600 seconds, got {getattr(self, option)!r}")
        heartbeat: object = self.heartbeat
        if not isinstance(heartbeat, Heartbeat):
            raise InvalidOption(f"Oban: heartbeat=Heartbeat(…) expected, got {heartbeat!r}")
        prune: object = self.prune
        if not (prune is None or isinstance(prune, Prune)):
            raise InvalidOption(f"Oban: prune=Prune(…), or None to turn it off, expected; got {prune!r}")
        for cron in cast(tuple[object, ...], self.crontab):
            if not isinstance(cron, Cron):
                raise InvalidOption(f"Oban: crontab is a list of Cron(…), with {cron!r} in it")
        by_name((), self.crontab)
        maker: object = self.sessionmaker
        if maker is not None and not isinstance(maker, async_sessionmaker | sessionmaker):
            raise InvalidOption(f"Oban: sessionmaker= takes an async_sessionmaker or a sessionmaker, got {maker!r}")


OPTIONS = tuple(option.name for option in fields(Config))
