"""What a child is told before its first call: how its node is set up, and which modules to import."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import sessionmaker

from ..errors import InvalidOption
from ..models.base import metadata
from ..options.job_logs import JobLogs
from ..options.sessionmakers import SessionMaker, maker_for
from ..statements.identify import Identity
from ..workers.registry import MAIN, workers
from ..workers.worker import Worker
from .errand import module_of
from .factories import attribute_that_is, path_of

PROCESS = "process"
"""The name of the executor that runs jobs in children."""


def process_workers(queues: Container[str]) -> list[Worker]:
    """The registered workers that run in child processes.

    :param queues: those that the node works. A child imports a worker of another queue when a job of it comes.
    """
    return [worker for worker in workers.distinct() if worker.executor == PROCESS and worker.queue in queues]


def refuse_unimportable(known: Iterable[Worker]) -> None:
    """Refuse workers that another process can't import.

    :param known: the workers that run in children.
    :raises InvalidOption: for the first one that can't be imported.
    """
    for worker in known:
        what = f"the process worker {worker.name!r}"
        if "<locals>" in worker.target.__qualname__:
            raise InvalidOption(
                f"{what} is defined inside a function, where a child process can't import it; move it out"
            )
        if _is_in_main(worker) and (where := _why_not_main()) is not None:
            raise InvalidOption(
                f"{what} is defined {where}, where a child process can't import it; move it into a module"
            )


def setup(
    known: Sequence[Worker],
    sessions: Sequence[str],
    identity: Identity,
    schema: str | None,
    job_logs: JobLogs | None,
    tells_memory: bool,
) -> dict[str, Any]:
    """What a child is told first.

    :param known: the workers that run in children.
    :param sessions: ``"module:name"`` of each sessionmaker.
    :param identity: of the database that its node serves.
    :param schema: where the tables live.
    :param job_logs: what to keep of the logs of jobs; None for nothing.
    :param tells_memory: whether each answer says how much memory the child has.
    """
    in_main = any(_is_in_main(worker) for worker in known) or any(name.partition(":")[0] in MAIN for name in sessions)
    main = _main() if in_main else None
    return {
        "argv": sys.argv,
        "path": sys.path,
        "directory": os.getcwd(),
        "main": main,
        "modules": sorted({module_of(worker) for worker in known if not _is_in_main(worker)}),
        "workers": {worker.name: worker.origin for worker in known},
        "sessions": list(sessions),
        "identity": list(identity),
        "schema": schema,
        "default_schema": metadata.schema,
        "levels": _levels(),
        "job_logs": None if job_logs is None else (job_logs.number, job_logs.most),
        "tells_memory": tells_memory,
    }


def sessionmaker_names(makers: Sequence[SessionMaker], given: str | None, known: Iterable[Worker]) -> list[str]:
    """The names by which a child finds the sessionmakers.

    These are all that can be found, even when no worker asks for a session: a step may ask for one, and a job may
    return a workflow.

    :param makers: what the runtime has.
    :param given: ``Processes(sessionmaker=…)``; a child imports it when it starts, or later for a step's session.
    :param known: the workers that run in children.
    :raises InvalidOption: when a worker needs a session, and a child could not find its sessionmaker.
    """
    if given is not None:
        return [given]
    found = {id(maker): name for maker in makers if (name := _path_of(maker)) is not None}
    for worker in known:
        kind = worker.session_kind
        if kind is not None and id(maker_for(kind, makers)) not in found:
            needs = "asks for a session"
        elif worker.entities and not found:
            needs = "takes instances of mapped classes"
        elif worker.arguments is not None and worker.arguments.returned.declares_flow and not found:
            needs = "returns a workflow"
        else:
            continue
        raise InvalidOption(
            f"the process worker {worker.name!r} {needs}, and a child process can't find the sessionmaker by "
            'name; give it as Processes(sessionmaker="module:name"), or make Oban(sessionmaker=…) an attribute of '
            "a module"
        )
    return list(found.values())


def load_sessionmaker(name: str) -> SessionMaker:
    """The sessionmaker that ``"module:name"`` names.

    :raises InvalidOption: when there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise InvalidOption(f"Processes: there is no sessionmaker {name!r}: {error}") from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise InvalidOption(f"Processes: there is no sessionmaker {name!r}: {module} has no {attribute!r}")
    if not isinstance(found, async_sessionmaker | sessionmaker):
        raise InvalidOption(f"{name!r}: expected the name of a sessionmaker or async_sessionmaker, it is {found!r}")
    maker: SessionMaker = found  # pyright: ignore[reportUnknownVariableType] (its type parameter can't be known)
    return maker


def _path_of(maker: SessionMaker) -> str | None:
    """The name by which a child finds `maker`; in the main module only if no other module has it."""
    if (path := path_of(maker)) is not None or _why_not_main() is not None:
        return path
    name = attribute_that_is(maker, sys.modules["__main__"])
    return None if name is None else f"__mp_main__:{name}"


def _is_in_main(worker: Worker) -> bool:
    return str(worker.target.__module__) in MAIN


def _why_not_main() -> str | None:
    """Where the main module is, if a child can't import it; None if it can."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or not os.path.exists(file):
        return "in a notebook, with python -c or at a prompt"
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name.rpartition(".")[2] == "__main__":
        return f"in {spec.name}"
    return None


def _main() -> tuple[str, str]:
    """How a child imports the program's main module."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name is not None:
        return "name", str(spec.name)
    return "path", os.path.abspath(str(main.__file__))


def _levels() -> dict[str, int]:
    """The levels of the program's loggers."""
    levels = {"": logging.getLogger().level}
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return levels
