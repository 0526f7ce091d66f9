"""The objects that jobs ask for by type: made, closed, and shared for as long as the runtime, or a run, lasts.

Each object is opened and closed in a separate task: what it holds may have to be left in the task, and in the
context, in which it was entered.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextvars import Context, copy_context
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Protocol, cast

from ..errors import InvalidOption
from ..options.resources import Resource, described, found, is_by_annotation, near
from ..telemetry import job_logger, node_logger
from ..telemetry.log_error import log_error
from .group_of import Load
from .row import Row

CLOSING = 10.0
"""Seconds that an object may take to be closed."""

Closing = Callable[[BaseException | None], Awaitable[None]]
"""Closes what was opened for one run, which has ended with this error."""


class Provider(Protocol):
    """Gives a run what it asks for by type."""

    async def open(self, row: Row, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        """The objects for one run, by parameter, and what closes those that are its own.

        :param row: the job that runs.
        :param asked: the types, by parameter.
        """
        ...


class Resources:
    """The objects of one runtime.

    :param given: how they are made, by type.
    :param runtime: the :class:`Oban`, for jobs that ask for it; None where there is none.
    :param loads: gives a job its batch or workflow, by the class. Default: it can't.
    """

    def __init__(
        self,
        given: Mapping[Any, Resource],
        runtime: object = None,
        loads: Mapping[Any, Load] | None = None,
    ) -> None:
        # Given, and never written again.
        self._given = given
        self._runtime = runtime
        self._loads = loads or {}
        # Not that of the job that is the first to need one.
        self._context = copy_context()
        # Those of the runtime that are open, or being opened, in that order: written by _shared() and close().
        self._open: dict[int, _Kept] = {}

    def provides(self, kind: object) -> bool:
        """Whether it has an object of this type."""
        return self._is_runtime(kind) or any(found(kind, among) is not None for among in (self._loads, self._given))

    async def prepare(self, kinds: Iterable[Any]) -> None:
        """Make those of the runtime among these types, for which jobs will ask.

        Raises what a factory raises; the caller closes what is open.
        """
        for kind in kinds:
            resource: Resource | None = found(kind, self._given)
            if resource is not None and resource.scope == "runtime":
                await self._shared(resource)

    async def open(self, row: Row, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        """See :meth:`Provider.open`.

        :raises InvalidOption: for a type that this runtime does not provide.
        """
        values: dict[str, object] = {}
        own: dict[int, _Kept] = {}
        try:
            for name, kind in asked.items():
                if self._is_runtime(kind):
                    values[name] = self._runtime
                    continue
                if (load := found(kind, self._loads)) is not None:
                    values[name] = await load(row)
                    continue
                resource: Resource | None = found(kind, self._given)
                if resource is None:
                    raise InvalidOption(f"the job asks for {unprovided(kind, self._given)}")
                if resource.scope == "runtime":
                    values[name] = await self._shared(resource)
                    continue
                if id(resource) not in own:
                    own[id(resource)] = _Kept(resource.factory, copy_context())
                values[name] = await own[id(resource)].value()
        except BaseException as error:
            await _close(own, error, row)
            raise
        if not own:
            return values, None
        return values, lambda error: _close(own, error, row)

    async def close(self) -> None:
        """Close what is open, the last first. What that raises is logged."""
        kept, self._open = self._open, {}
        await _close(kept, None, None)

    def _is_runtime(self, kind: object) -> bool:
        return is_by_annotation(kind) and isinstance(self._runtime, kind)

    async def _shared(self, resource: Resource) -> object:
        if (kept := self._open.get(id(resource))) is None or kept.has_failed:
            kept = self._open[id(resource)] = _Kept(resource.factory, self._context.copy())
        # A job that is cancelled meanwhile leaves it to the next one.
        return await kept.value()


NONE = Resources({})
"""What a run gets where nothing is provided."""


def unprovided(kind: object, given: Mapping[Any, Any]) -> str:
    """What a message says of a type that is not among those `given`."""
    name = described(kind)
    if is_by_annotation(kind):
        return f"{name}, which is not available here"
    meant = ", ".join(described(one) for one in near(kind, given))
    instead = f"; there is {meant}" if meant else ""
    return f"{name}, which nothing provides{instead}; provide it: Oban(engine, resources={{{name}: a factory}})"


class _Kept:
    """One object, in the task that opens and closes it."""

    def __init__(self, factory: Callable[[], Any], context: Context) -> None:
        loop = asyncio.get_running_loop()
        self.name = str(getattr(factory, "__qualname__", factory))
        self.failure: BaseException | None = None
        """What went wrong while it was closed. Written by _keep() and close()."""
        self._factory = factory
        # Set by _keep() when the object is there, or could not be made.
        self._value: asyncio.Future[object] = loop.create_future()
        # Set by close(): the error with which its use has ended.
        self._ended: asyncio.Future[BaseException | None] = loop.create_future()
        self._task = loop.create_task(self._keep(), name="oban_sqla resource", context=context)

    @property
    def has_failed(self) -> bool:
        """Whether it could not be made."""
        return self._value.done() and self._value.exception() is not None

    async def value(self) -> object:
        """The object. Raises what its factory has raised."""
        return await asyncio.shield(self._value)

    async def close(self, error: BaseException | None) -> None:
        """Close it, even while being cancelled.

        :param error: with which its use has ended.
        """
        if not self._ended.done():
            self._ended.set_result(error)
        if not self._value.done():
            self._task.cancel()
        waiting = asyncio.ensure_future(asyncio.wait((self._task,), timeout=CLOSING))
        while not waiting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(waiting)
        if not self._task.done():
            self._task.cancel()
            self.failure = TimeoutError(f"it took longer than {CLOSING:g} s")

    async def _keep(self) -> None:
        # Raises nothing: what ends a process would end the event loop here.
        ended: BaseException | None = None
        try:
            async with _entered(self._factory) as made:
                self._value.set_result(made)
                if (ended := await self._ended) is not None:
                    raise ended
        except BaseException as error:
            if self._value.done():
                self.failure = None if error is ended else error
                return
            if isinstance(error, Exception):  # "generator didn't yield" says nothing of whose it is
                error.add_note(f"It was raised while {self.name}, a factory of Oban(resources=…), made its object.")
            if isinstance(error, GeneratorExit):  # thrown into what waits, it would close that, and its job with it
                failure = RuntimeError(f"{self.name} raised GeneratorExit")
                failure.__cause__ = error
                error = failure
            self._value.set_exception(error)
            self._value.exception()  # read, also where no job waits for it any more


async def _close(kept: Mapping[int, _Kept], error: BaseException | None, row: Row | None) -> None:
    trace = None if error is None else error.__traceback__
    for one in reversed(list(kept.values())):
        await one.close(error)
        if (failure := one.failure) is not None:
            logger, of = (node_logger, "") if row is None else (job_logger, f"job {row.id}: ")
            extra = None if row is None else row.log_extra
            log_error(logger, failure, "%sclosing what %s has made failed", of, one.name, extra=extra)
    if error is not None:
        error.__traceback__ = trace


@contextlib.asynccontextmanager
async def _entered(factory: Callable[[], Any]) -> AsyncGenerator[object]:
    made: Any = factory()
    if inspect.iscoroutine(made):
        made = await made
    if isinstance(made, AsyncGeneratorType):
        made = _as_async_manager(cast(Any, made))
    elif isinstance(made, GeneratorType):
        made = _as_manager(cast(Any, made))
    if isinstance(made, _ASYNC):
        async with cast(Any, made) as value:
            yield value
    elif isinstance(made, _SYNC):
        with cast(Any, made) as value:
            yield value
    else:
        yield made


def _as_manager(generator: Generator[object]) -> contextlib.AbstractContextManager[object]:
    return contextlib.contextmanager(lambda: generator)()


def _as_async_manager(generator: AsyncGenerator[object]) -> contextlib.AbstractAsyncContextManager[object]:
    return contextlib.asynccontextmanager(lambda: generator)()


# Only what these make is entered. Locks, and clients that may be used as they are, are context managers, too.
_SYNC = contextlib._GeneratorContextManager  # pyright: ignore[reportPrivateUsage]
_ASYNC = contextlib._AsyncGeneratorContextManager  # pyright: ignore[reportPrivateUsage]
