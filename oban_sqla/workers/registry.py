"""The workers of this process, by name. Nothing else decides what a row may run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption, UnknownWorker, WorkerConflict

if TYPE_CHECKING:
    from .worker import Worker


class Registry:
    """Names and their workers. There is one for the process: :data:`workers`."""

    def __init__(self) -> None:
        self._by_name: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self.version = 0
        """Counts the registrations, so that a runtime notices when a name that it didn't know arrives."""

    def add(self, worker: Worker) -> None:
        """Register `worker` under its name and its aliases. The same function again (a reload) replaces itself.

        :raises WorkerConflict: when another function has one of the names.
        """
        with self._lock:
            for name in (worker.name, *worker.aliases):
                other = self._by_name.get(name)
                if other is not None and other.origin != worker.origin:
                    raise WorkerConflict(
                        f"two workers named {name!r}: {other.origin} and {worker.origin}; "
                        "give one of them another name=, or remove the alias"
                    )
            for name in (worker.name, *worker.aliases):
                self._by_name[name] = worker
            self.version += 1

    def get(self, name: str) -> Worker | None:
        """The worker of that name or alias."""
        return self._by_name.get(name)

    def __getitem__(self, name: str) -> Worker:
        if (worker := self._by_name.get(name)) is None:
            raise UnknownWorker(
                f"no worker named {name!r} is registered in this process; import the module that defines it"
            )
        return worker

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_name))

    def remove(self, names: Iterable[str]) -> None:
        """Forget workers; for tests."""
        with self._lock:
            for name in names:
                self._by_name.pop(name, None)


workers = Registry()


def default_name(obj: Any) -> str:
    """``module.qualname``, with the real module's name where Python says ``__main__``.

    :raises InvalidOption: when there is none to be found, as in an interactive session.
    """
    return f"{_module_name(obj.__module__)}.{obj.__qualname__.replace('<locals>.', '')}"


def origin_of(obj: Any) -> str:
    """Where `obj` is defined: the same for a reload, and for a module that is both run and imported."""
    try:
        return default_name(obj)
    except InvalidOption:
        return f"{obj.__module__}.{obj.__qualname__}"


def _module_name(name: str) -> str:
    if name not in ("__main__", "__mp_main__"):
        return name
    main = sys.modules.get(name)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name).removesuffix(".__main__")
    if file := getattr(main, "__file__", None):
        return Path(file).stem
    raise InvalidOption("this worker has no module to be named by (an interactive session?); give it a name=")
