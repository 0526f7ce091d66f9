"""How another process finds the factories of the objects that its jobs ask for: by their names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..errors import InvalidOption
from ..options.resources import Resource, Scope, described, found, is_by_annotation
from ..runtime.executors.call import Call
from ..runtime.resources import Closing, Resources, unprovided
from ..runtime.row import Row
from ..workers.injection import is_session
from ..workers.registry import MAIN
from ..workers.worker import Worker
from .groups import Groups, groups_asked, received

Names = Mapping[str, tuple[str, Scope]]
"""By parameter: ``"module:name"`` of the factory, and how long its object is kept."""


def factory_names(worker: Worker, given: Mapping[Any, Resource]) -> Names:
    """The names by which another process finds the factories of what `worker` asks for.

    :param given: what the runtime provides.
    :raises InvalidOption: for a type that is not provided, or a factory that can't be imported.
    """
    groups = groups_asked(worker)
    asked = resources_asked(worker)
    return {name: _named(worker, name, kind, given) for name, kind in asked.items() if name not in groups}


def resources_asked(worker: Worker) -> dict[str, Any]:
    """The types for which `worker` asks beside its job and its session, by parameter."""
    asked = Call.asked_by(worker)
    return {name: kind for name, kind in asked.items() if not is_session(kind)}


class Remade:
    """The objects that one process makes for the jobs that it runs for a node.

    :ivar names: the factories of the call under way.
    :ivar groups: the batch and the workflow of its job, where the worker asks for them.
    """

    def __init__(self) -> None:
        self.names: Names = {}
        self.groups: Groups = {}
        # The factories that calls have named, by name and scope: written by open().
        self._known: dict[tuple[str, Scope], Resource] = {}
        self._resources = Resources(self._known)

    @property
    def is_used(self) -> bool:
        """Whether there may be something to close."""
        return bool(self._known)

    async def open(self, row: Row, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        """See :meth:`Provider.open`."""
        names = {name: self.names[name] for name in asked if name not in self.groups}
        for path, scope in names.values():
            if (path, scope) not in self._known:
                self._known[path, scope] = Resource(_loaded(path), scope)
        if not self.groups:
            return await self._resources.open(row, names)
        made, close = await self._resources.open(row, names) if names else ({}, None)
        return made | received(self.groups), close

    async def close(self) -> None:
        """Close what is open."""
        await self._resources.close()


class Made:
    """Objects that were made beforehand, for a call that must not wait.

    :param values: the objects, by parameter.
    """

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    async def open(self, row: Row, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        """See :meth:`Provider.open`."""
        return self._values, None


def _named(worker: Worker, name: str, kind: Any, given: Mapping[Any, Resource]) -> tuple[str, Scope]:
    what = f"{worker.name}: {name}"
    if is_by_annotation(kind):
        raise InvalidOption(
            f"{what} asks for {kind.__name__}, which lives in the node, and the job runs in another process "
            f"(executor={worker.executor!r}); let it run in the node"
        )
    resource: Resource | None = found(kind, given)
    if resource is None:
        raise InvalidOption(f"{what} asks for {unprovided(kind, given)}")
    path = _path(resource.factory, worker)
    if path is None:
        of_main = getattr(resource.factory, "__module__", None) in MAIN
        advice = "move it from the program that runs to a module" if of_main else "write it at the top of a module"
        raise InvalidOption(
            f"{what} asks for {described(kind)}, and runs in another process (executor={worker.executor!r}), which "
            f"makes its own with the same factory; it can't import {resource.factory!r}: {advice}"
        )
    return path, resource.scope


def _path(factory: Any, worker: Worker) -> str | None:
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and _attribute(sys.modules.get(module), name) is factory:
        if module not in MAIN:
            return f"{module}:{name}"
        of_main = worker.target.__module__ in MAIN and worker.executor == "process"
        return f"__mp_main__:{name}" if of_main else None
    return path_of(factory)


def path_of(value: object) -> str | None:
    """``"module:name"`` of `value`, if it is an attribute of a module that other processes can import; else None."""
    for at, module in list(sys.modules.items()):
        is_ours = at.partition(".")[0] == "oban_sqla"
        if at not in MAIN and not is_ours and (name := attribute_that_is(value, module)) is not None:
            return f"{at}:{name}"
    return None


def attribute_that_is(value: object, module: ModuleType) -> str | None:
    """The name of the attribute of `module` whose value is `value`; None if there is none."""
    names: dict[str, object] = getattr(module, "__dict__", {})
    return next((name for name, one in list(names.items()) if one is value), None)


def _loaded(path: str) -> Any:
    module, _, name = path.partition(":")
    factory = _attribute(importlib.import_module(module), name)
    if factory is None:
        raise InvalidOption(f"the factory {path!r}, which the node has named, is not there in this process")
    return factory


def _attribute(holder: Any, path: str) -> Any:
    for part in path.split("."):
        holder = getattr(holder, part, None)
    return holder
