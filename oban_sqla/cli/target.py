"""The target of ``oban-sqla start``: ``app.jobs``, or ``app.main:oban``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import IO, Any

import click
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from ..errors import closest
from ..oban import Oban
from ..options.sessionmakers import SessionMaker
from ..workers.registry import workers
from .settings import FILE, Settings

Loaded = Oban | AsyncEngine | Engine | SessionMaker
KINDS = (Oban, AsyncEngine, Engine, async_sessionmaker, sessionmaker)

_MACHINERY = {Path(__file__).parents[1], Path(importlib.__file__).parent}
"""The folders of this package and of Python's import system, which are left out of tracebacks."""

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")


class TargetError(click.ClickException):
    """The module, or the object that is named in it, can't be used."""


class ImportFailed(TargetError):
    """The module raised while it was imported. The traceback that is shown begins with the program's own lines."""

    def __init__(self, name: str, error: Exception | SystemExit) -> None:
        ends = isinstance(error, SystemExit)
        hint = "; it ends the program: put that under if __name__ == '__main__'" if ends else ""
        super().__init__(f"can't import {name}: {_reason(error)}{hint}")
        self._error = error

    def show(self, file: IO[Any] | None = None) -> None:
        trace = self._error.__traceback__
        while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        if trace is not None:  # None: no line of the program has run
            text = "".join(traceback.format_exception(type(self._error), self._error, trace))
            click.echo(text, file=file, err=file is None)
        super().show(file)


def named_targets(given: Sequence[str], file: Settings, what: str) -> Sequence[str]:
    """The targets of the command line, or else those of the settings.

    :param what: the module that is wanted, for the message.
    :raises click.UsageError: when neither names a target.
    """
    if found := given or file.value("module"):
        return tuple(found)
    raise click.UsageError(f'no module given; name the module with {what}, or write module = "app.jobs" in {FILE}')


def load(target: str) -> Loaded | None:
    """Import what `target` names, the current directory included, and return the object behind the colon.

    :returns: an Oban, an engine or a sessionmaker; None for a plain module.
    :raises TargetError: when it can't be imported, or is anything else.
    """
    if not _DOTTED.fullmatch(target) or _is_file(target.partition(":")[0]):
        raise TargetError(f"{target!r} is not a valid module name: {_instead(target)}")
    name, _, attribute = target.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(name)
    return _attribute(module, attribute) if attribute else None


def require_workers(where: str) -> None:
    """Check that this process has registered a worker.

    :param where: what was imported, for the message.
    :raises TargetError: when it has registered none.
    """
    if not list(workers):
        raise TargetError(f"{where} registers no workers; name the module with your @job functions")


def _is_file(name: str) -> bool:
    """Whether `name` is that of a file, such as ``main_job.py``, and not that of a module ``py`` in a package."""
    return name.endswith(".py") and not os.path.isdir(name.removesuffix(".py").replace(".", os.sep))


def _instead(target: str) -> str:
    path, _, attribute = target.partition(":")
    if path.endswith(".py"):
        dotted = ".".join(Path(path.removesuffix(".py")).parts)
        return f"did you mean {dotted}{':' + attribute if attribute else ''}? (Python imports it by that name)"
    return "expected a dotted name such as app.jobs, or app.main:oban"


def _import(name: str) -> ModuleType:
    _require_parents(name)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ImportFailed(name, error) from error


def _require_parents(name: str) -> None:
    """Check that each part of `name` exists, before it is imported.

    A missing module is a different error than a module that imports a missing one.
    """
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        part = ".".join(parts[:end])
        try:
            spec = importlib.util.find_spec(part)
        except (Exception, SystemExit) as error:  # to find app.jobs, Python imports app
            raise ImportFailed(parts[0], error) from error
        if spec is None:
            parent = ".".join(parts[: end - 1])
            near = closest(parts[end - 1], _modules(parent))
            where = f"in {parent}" if parent else f"in {os.getcwd()}, nor installed"
            hint = f"; did you mean {'.'.join([*parts[: end - 1], near])}?" if near else ""
            raise TargetError(f"there is no module {parts[end - 1]!r} {where}{hint}")
        if end < len(parts) and spec.submodule_search_locations is None:
            raise TargetError(
                f"{part} is a module, not a package, so there is no {name}; did you mean "
                f"{part}:{'.'.join(parts[end:])}?"
            )


def _modules(parent: str) -> list[str]:
    """The names of the modules in the package `parent`, or in the current directory if it is empty."""
    if not parent:
        return [module.name for module in pkgutil.iter_modules([os.getcwd()])]
    spec = importlib.util.find_spec(parent)
    places = None if spec is None else spec.submodule_search_locations
    return [module.name for module in pkgutil.iter_modules(places or [])]


def _reason(error: BaseException) -> str:
    """The exception, with the innermost line that is not in Python's import system or this package."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return text
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    if not frames:
        return text
    return f"{text} ({os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno})"


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen") or not _MACHINERY.isdisjoint(Path(file).parents)


def _meant(name: str, given: object) -> str:
    """A hint when `given` has no attribute `name`: an attribute with a similar name, or one that runs jobs."""
    found: dict[str, object] = getattr(given, "__dict__", {})
    usable = [one for one, value in found.items() if isinstance(value, KINDS)]
    others = [
        one
        for one, value in found.items()
        if not one.startswith("_") and not isinstance(value, ModuleType | FunctionType)
        if not isinstance(value, type) or value.__module__ == found.get("__name__")
    ]
    if near := closest(name, usable) or closest(name, others):
        return f"; did you mean {near!r}?"
    if usable:
        return f"; it has {', '.join(sorted(usable))}"
    return "; it has no Oban, engine or sessionmaker; name the module alone to run its workers"


def _attribute(module: ModuleType, path: str) -> Loaded:
    loaded: object = module
    for name in path.split("."):
        if not hasattr(loaded, name):
            raise TargetError(f"{module.__name__} has no {path!r}{_meant(name, loaded)}")
        loaded = getattr(loaded, name)
    if isinstance(loaded, ModuleType):
        raise TargetError(f"{module.__name__}:{path} is a module; write {loaded.__name__}")
    if isinstance(loaded, KINDS):
        return loaded  # pyright: ignore[reportUnknownVariableType]
    raise TargetError(
        f"{module.__name__}:{path}: expected an Oban, an engine or a sessionmaker, got {type(loaded).__name__}; "
        f"for its workers alone name the module: {module.__name__}"
    )
