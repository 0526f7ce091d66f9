"""The workers of this process, by name. Nothing else decides what a row may run."""

from __future__ import annotations

import gc
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption, UnknownWorker, WorkerConflict
from .shape import innermost

if TYPE_CHECKING:
    from .worker import Worker


MAIN = ("__main__", "__mp_main__")
"""What Python calls the program's main module: where it runs, and where a child has imported it."""


class Registry:
    """Names and their workers. There is one for the process: :data:`workers`."""

    def __init__(self) -> None:
        self._by_name: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self.encrypted: set[str] = set()
        """The names of workers that encrypt what they store: written by add() and remove()."""
        # By name, what the decorator returned: written by made() and remove(), compared by add().
        self._made: dict[str, weakref.ref[Any]] = {}
        # By name, the spec of the module that has defined it, another one after each reload: written by add().
        self._modules: dict[str, object] = {}
        # Workers of this package: found by their names, and in no list. Written by hide().
        self._built_in: dict[str, Worker] = {}
        # The workers that bring jobs together, by name: with chunk=, and with chunk= or chain=. Written by add().
        self.chunked: dict[str, Worker] = {}
        self.grouped: dict[str, Worker] = {}
        self.version = 0
        """Counts the registrations, so that a runtime notices when a name that it didn't know arrives."""

    def add(self, worker: Worker, is_named: bool = False) -> None:
        """Register `worker` under its name and its aliases. The same function again (a reload) replaces itself.

        :param is_named: whether its name was given, and not made of where it is defined.
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
                if other is not None and self._is_twin(other, worker, is_named):
                    raise WorkerConflict(
                        f"two workers named {name!r}: the same place defines several functions (a factory, a loop, "
                        "lambdas?), and one would run the jobs of another; give each another name="
                    )
            for name in (worker.name, *worker.aliases):
                self._by_name[name] = worker
                (self.encrypted.add if worker.encrypted else self.encrypted.discard)(name)
                for known, group in ((self.chunked, worker.chunk), (self.grouped, worker.chunk or worker.chain)):
                    known.pop(name, None)
                    if group is not None:
                        known[name] = worker
                self._modules[name] = _module_spec(worker.target)
            self.version += 1

    def hide(self, name: str) -> None:
        """Keep a worker of this package out of all lists; jobs of its name find it."""
        with self._lock:
            self._built_in[name] = self._by_name.pop(name)

    def made(self, worker: Worker, by: object) -> None:
        """Note what the decorator has made of `worker`. While the program holds it, its name is taken."""
        with self._lock:
            self._made[worker.name] = weakref.ref(by)

    def _is_twin(self, other: Worker, worker: Worker, is_named: bool) -> bool:
        """Whether `other`, of the same place, is another function, and still in use. Of a class that is not known: one
        with a name that was given may replace the other."""
        is_reloaded = self._modules[other.name] is not _module_spec(worker.target)
        if not are_twins(other.target, worker.target, is_reloaded):
            return False
        made = self._made.get(other.name)
        if made is None and is_named:
            return False
        if made is not None and made() is not None:
            gc.collect()  # a function that refers to itself outlives its last user, as one that a test has defined
        return made is None or made() is not None

    def get(self, name: str) -> Worker | None:
        """The worker of that name or alias."""
        return self._by_name.get(name) or self._built_in.get(name)

    def __getitem__(self, name: str) -> Worker:
        if (worker := self.get(name)) is None:
            raise UnknownWorker(
                f"no worker named {name!r} is registered in this process; import the module that defines it"
            )
        return worker

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_name))

    def distinct(self) -> list[Worker]:
        """Each worker once, by name; its aliases do not count."""
        with self._lock:
            return [worker for name, worker in sorted(self._by_name.items()) if name == worker.name]

    def remove(self, names: Iterable[str]) -> None:
        """Forget workers; for tests."""
        with self._lock:
            for name in names:
                for known in (self._by_name, self.chunked, self.grouped):
                    known.pop(name, None)
                self._made.pop(name, None)
                self.encrypted.discard(name)


workers = Registry()


def default_name(obj: Any) -> str:
    """``module.qualname``, with the real module's name where Python says ``__main__``.

    :raises InvalidOption: when there is none to be found, as in an interactive session.
    """
    return f"{_module_name(obj.__module__)}.{obj.__qualname__.replace('<locals>.', '')}"


def are_twins(one: Any, other: Any, is_reloaded: bool) -> bool:
    """Whether two functions, or classes, that are defined at the same place do different things.

    A reload compiles the place anew. So what has the same code object was defined by one run of the place's
    surroundings after the other, as a factory does; it does the same unless the surroundings differ. Lambdas share a
    name without sharing a place.

    :param is_reloaded: whether the module was loaded anew between the two.
    """
    if one is other:
        return False
    mine, theirs = _body(one), _body(other)
    if mine is None or theirs is None:
        return False
    if mine.__code__ is theirs.__code__:
        return _surroundings(mine) != _surroundings(theirs)
    return mine.__name__ == "<lambda>" and mine.__code__ != theirs.__code__ and not is_reloaded


def _body(obj: Any) -> types.FunctionType | None:
    process: Any = vars(obj).get("process") if isinstance(obj, type) else obj
    run = innermost(process)
    return run if isinstance(run, types.FunctionType) else None


def _module_spec(obj: Any) -> object:
    return getattr(sys.modules.get(obj.__module__), "__spec__", None)


def _surroundings(fn: types.FunctionType) -> list[object]:
    """What else than its code decides what `fn` does: by identity, but for plain values."""
    values = [*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()]
    for cell in fn.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # still empty: the name that the decorated function itself will have
            values.append(None)
    return [value if isinstance(value, str | int | float) else id(value) for value in values]


def origin_of(obj: Any) -> str:
    """Where `obj` is defined: the same for a reload, and for a module that is both run and imported."""
    try:
        return default_name(obj)
    except InvalidOption:
        return f"{obj.__module__}.{obj.__qualname__}"


def _module_name(name: str) -> str:
    if name not in MAIN:
        return name
    main = sys.modules.get(name)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in MAIN:
        return str(spec.name).removesuffix(".__main__")
    if file := getattr(main, "__file__", None):
        return Path(file).stem
    raise InvalidOption("this worker has no module to be named by (an interactive session?); give it a name=")
