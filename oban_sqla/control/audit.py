"""Who changed what: each change that a person makes by the dashboard or the command line leaves a row.

Around a change, :func:`audited` says who makes it. What makes changes (of jobs, queues, limits and the crontab) writes
the row in the transaction of the change: both are committed, or neither. One that found nothing to change says so: it
has 0 jobs. Changes that a program makes leave no row.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from ..statements.audit import record_change

MOST_IDS = 100
"""Ids of jobs that a row names; of more it has the number."""


@dataclass(frozen=True, slots=True)
class Author:
    """A person who makes changes.

    :param who: the name.
    :param via: the program: ``"web"`` or ``"cli"``.
    :param reason: why, in the person's words. Default: not said.
    """

    who: str
    via: Literal["web", "cli"]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Note:
    author: Author
    verb: str
    target: Mapping[str, Any]


_note: ContextVar[_Note | None] = ContextVar("oban_sqla_audit", default=None)


@contextmanager
def audited(author: Author, verb: str, target: Mapping[str, Any]) -> Generator[None]:
    """Each change that is made inside leaves a row.

    :param verb: what is done: ``"cancel"``, ``"queue.pause"``, ``"cron.run"``, …
    :param target: to what, as JSON has it: ``{"ids": [7]}``, ``{"queue": "media"}``, …
    """
    token = _note.set(_Note(author, verb, target))
    try:
        yield
    finally:
        _note.reset(token)


def note(connection: Connection, jobs: int | None = None, **target: str) -> None:
    """Write the row of the change that this transaction makes, if a person makes it.

    :param jobs: how many jobs were changed or enqueued. Default: the change is not one of jobs.
    :param target: what was changed, where the author did not name it.
    """
    if (made := _note.get()) is None:
        return
    record_change.execute(
        connection,
        who=made.author.who,
        via=made.author.via,
        verb=made.verb,
        target=json.dumps({**made.target, **target}, ensure_ascii=False, default=str),
        jobs=jobs,
        reason=made.author.reason,
    )


def of_ids(ids: list[int]) -> dict[str, Any]:
    """Jobs as the target of a row."""
    return {"ids": ids} if len(ids) <= MOST_IDS else {"ids": ids[:MOST_IDS], "and": len(ids) - MOST_IDS}


def operator() -> Author:
    """The person who runs this command: the user and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return Author(f"{user}@{socket.gethostname()}", "cli")
