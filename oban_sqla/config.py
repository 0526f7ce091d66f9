"""The options of a runtime, checked once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import sessionmaker

from .errors import InvalidOption
from .limits import Queue, as_queue
from .outcomes import seconds

Notify = Literal["auto", "transaction", "off"]
SessionMaker = async_sessionmaker[Any] | sessionmaker[Any]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a node shows that it is alive.

    :param interval: seconds from one sign to the next, more than 0. Default 5.
    :raises InvalidOption: for an interval that is not above 0.
    """

    interval: float = 5.0

    def __post_init__(self) -> None:
        if not seconds(self.interval, "Heartbeat(interval)") > 0:
            raise InvalidOption(f"Heartbeat: the interval is seconds above 0, got {self.interval!r}")


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
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    poll_interval: float = 1.0
    start_timeout: float = 10.0

    @classmethod
    def checked(cls, *, queues: Mapping[str, int | Queue] | None, node: str | None, **options: Any) -> Config:
        """A config of options as users write them."""
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
        heartbeat: object = self.heartbeat
        if not isinstance(heartbeat, Heartbeat):
            raise InvalidOption(f"Oban: heartbeat=Heartbeat(…) expected, got {heartbeat!r}")
        maker: object = self.sessionmaker
        if maker is not None and not isinstance(maker, async_sessionmaker | sessionmaker):
            raise InvalidOption(f"Oban: sessionmaker= takes an async_sessionmaker or a sessionmaker, got {maker!r}")


OPTIONS = tuple(option.name for option in fields(Config))
