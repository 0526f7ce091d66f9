"""What jobs ask for beside their arguments, given by a test."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from ..errors import InvalidOption
from ..options.resources import checked_kinds, described, found, near
from ..runtime.resources import Closing
from ..runtime.row import Row

_given: ContextVar[Mapping[Any, object] | None] = ContextVar("oban_sqla_test_resources", default=None)


def resources(objects: Mapping[Any, object]) -> Provided:
    """Provide, for a block, what jobs ask for by ``= injected()``: ``with resources({httpx.AsyncClient: fake}): …``.

    ::

        with resources({httpx.AsyncClient: httpx.AsyncClient(transport=fake)}):
            assert await drain(session) == {"completed": 1}

    It applies to :func:`drain`, :func:`perform` and inline mode. The objects are used as they are: they are neither
    called nor closed. Blocks may be nested; the inner one overrides types of the outer one.

    :param objects: by type, the object that jobs get. A type is found by equality, as in ``Oban(resources=…)``. With
        ``{Oban: oban}``, jobs that ask for the runtime get it.
    :returns: a context manager, for ``with`` and ``async with``. It may be used in a fixture.
    :raises InvalidOption: for types that a runtime provides by itself, such as sessions.

    It is held in a context variable: it applies to the block, to the tasks that it starts and to what it runs with
    ``asyncio.to_thread``, and never to another test that runs at the same time.
    """
    return Provided(dict(checked_kinds(objects, "resources", with_runtime=True)))


class Provided:
    """The block in which jobs get these objects. May be entered again."""

    def __init__(self, objects: Mapping[Any, object]) -> None:
        self._objects = objects
        self._before: list[Mapping[Any, object] | None] = []

    def __enter__(self) -> None:
        self._before.append(before := _given.get())
        _given.set({**(before or {}), **self._objects})

    def __exit__(self, *_: object) -> None:
        # Set, not reset by a token: a fixture may be torn down in another context than it was set up in.
        _given.set(self._before.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class OfTest:
    """Gives jobs what the test provides.

    :param groups: the batch and the workflow of the job by their classes; an error for one that it has not. Default:
        none are known.
    """

    def __init__(self, groups: Mapping[Any, object] | None = None) -> None:
        self._groups = groups or {}
        self.refused: InvalidOption | None = None
        """Why a job could not have what it asked for: the test's mistake, not the job's."""

    async def open(self, row: Row, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        """See :meth:`Provider.open`."""
        given = {**self._groups, **(_given.get() or {})}
        values: dict[str, object] = {}
        for name, kind in asked.items():
            if (value := found(kind, given)) is None:
                meant = ", ".join(described(one) for one in near(kind, given))
                self.refused = InvalidOption(
                    f"{row.worker}: {name} asks for {described(kind)}, which this test does not provide"
                    f"{f'; it provides {meant}' if meant else ''}; use: with "
                    f"oban_sqla.testing.resources({{{described(kind)}: an object}})"
                )
                raise self.refused
            if isinstance(value, InvalidOption):
                raise value
            values[name] = value
        return values, None
