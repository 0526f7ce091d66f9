"""The request for a page, and the content that it answers with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request

from ..models import Job
from ..models.notes import note_of
from ..options.whole import whole_from
from ..telemetry.database_error import described, sqlstate_of
from .access import Operator
from .instance import SHARED, Place
from .render import Link

T = TypeVar("T")

Redact = Callable[[Job], object]
"""Called with a job; returns what is shown of its arguments."""

QUERY_CANCELED = "57014"

REFRESH = {"failures": 10.0, "crons": 5.0, "nodes": 5.0, "audit": 5.0}
"""Seconds between two refreshes of the pages that are not refreshed every 2 seconds."""
WATCHED = 0.95
"""Browsers that watch a page share an answer for this part of the time between two refreshes, whenever each refreshes.
It is below 1, so that a browser which watches alone gets a new answer each time."""


class NotFound(Exception):
    """There is no such page, or no such thing to show on it; the text says which."""


def no_job(id: int) -> NotFound:
    """The error for a job that is not there."""
    return NotFound(f"There is no job {id}: it was deleted, pruned, or never committed.")


class Refused(Exception):
    """The operator may not do this; the text says what."""


class Wrong(Exception):
    """A form was filled in wrongly; the text says how."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a page, or a form that was sent.

    :ivar request: the request, of Starlette.
    :ivar place: the instance on the running event loop.
    :ivar operator: who asks.
    :ivar link: makes links from this page.
    :ivar path: of the page, inside the dashboard.
    :ivar params: of the URL, in order.
    :ivar redact: the user's function; None when arguments are shown as they are.
    """

    request: Request
    place: Place
    operator: Operator
    link: Link
    path: str
    params: list[tuple[str, str]]
    redact: Redact | None

    @property
    def refresh(self) -> float:
        """Seconds between two refreshes of this page."""
        return REFRESH.get(self.path, 2.0)

    @property
    def is_refresh(self) -> bool:
        """Whether an open page asks for its new content."""
        return self.request.headers.get("hx-request") == "true"

    def one(self, name: str) -> str | None:
        """The value of a parameter; None when it is missing or blank."""
        return next((value for key, value in self.params if key == name and value.strip()), None)

    def whole(self, name: str) -> int | None:
        """The value of a parameter that is a whole number; None for anything else."""
        return whole(self.one(name))

    async def read(self, key: Hashable, work: Callable[[Connection], T], seconds: float = SHARED) -> T:
        """What `work` reads. Requests with the same `key` within `seconds` share it."""
        return await self.share(key, lambda: self.place.read(work), seconds)

    async def share(self, key: Hashable, make: Callable[[], Awaitable[T]], seconds: float = SHARED) -> T:
        """What the coroutine of `make` returns. Requests with the same `key` within `seconds` share it."""
        return await self.place.answer(key, make, max(seconds, WATCHED * self.refresh) if self.is_refresh else seconds)

    async def panel(self, key: Hashable, work: Callable[[Connection], T], seconds: float = SHARED) -> Panel[T]:
        """What `work` reads for a part of a page. If the database takes too long, the part says so."""
        try:
            return Panel(await self.read(key, work, seconds))
        except DBAPIError as error:
            return Panel(None, trouble(error))
        except OverflowError:  # raised by asyncpg
            return Panel(None, "A job has a time before the year 1 or after 9999, which can't be shown.")


@dataclass(frozen=True, slots=True)
class Panel(Generic[T]):
    """What a part of a page shows.

    :ivar found: what was read; None when it could not be read.
    :ivar trouble: why it could not be read, for people; None when it was read.
    """

    found: T | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Periods:
    """The choice of the period that the charts of a page show.

    :ivar chosen: ``"hour"`` or ``"day"``.
    :ivar path: of the page.
    :ivar params: the other parameters of the page's address.
    """

    chosen: str
    path: str = ""
    params: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Content:
    """What a page shows.

    :ivar template: the name of its file.
    :ivar title: shown in the heading and the browser's tab.
    :ivar context: for the template.
    :ivar path: of the page to which it belongs in the menu.
    :ivar live: whether an open page is refreshed, see :attr:`Ask.refresh`.
    :ivar trail: the pages above it, each with its path and its name.
    :ivar status: the HTTP status of the answer.
    :ivar periods: the choice of a period; None on a page without charts.
    """

    template: str
    title: str
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    path: str = ""
    live: bool = True
    trail: tuple[tuple[str, str], ...] = ()
    status: int = 200
    periods: Periods | None = None


def whole(text: str | None) -> int | None:
    """The whole number that `text` says; None for anything else, and for more than a bigint of the database."""
    made = whole_from(text, digits=19)
    return None if made is None or made >= 2**63 else made


def trouble(error: DBAPIError) -> str:
    """What to say of an error of the database."""
    if sqlstate_of(error) == QUERY_CANCELED:
        return "The database took longer than this page waits. It is tried again at the next refresh."
    said = described(error)
    note = note_of(sqlstate_of(error), said)
    return f"The database says: {said}" + ("" if note is None else f"; {note.removeprefix('oban_sqla: ')}.")
