"""Parameters that the runtime fills in."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeGuard

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import Job
from ..options.resources import is_by_annotation


class _Mark:
    __slots__ = ()

    def __repr__(self) -> str:
        return "injected()"


_MARK = _Mark()
_OF_OTHERS = ("self", "ctx", "context", "job", "task")
"""What other queues call the first parameter, for the job or task that runs."""


def injected() -> Any:
    """Mark a parameter of a job's function that the runtime fills in: ``client: httpx.AsyncClient = injected()``.

    Parameters annotated ``Job``, ``Oban``, ``Workflow``, ``Batch``, ``AsyncSession`` or ``Session``, or a subclass of
    these sessions, are filled in without it, too. With it, type checkers leave them out of ``.new()`` wherever they
    stand. Any other type needs it, and is what :class:`Oban` is given as ``resources=``.

    :returns: the mark, to be used as the default of the parameter. A direct call that leaves the parameter out raises
        :class:`InvalidArgs`.
    """
    return _MARK


def is_injectable(kind: object) -> bool:
    """Whether the runtime fills in a parameter of this type, also without a mark."""
    return kind is Job or is_session(kind) or is_by_annotation(kind)


def is_session(kind: object) -> TypeGuard[type[AsyncSession | Session]]:
    """Whether it is the class of a session."""
    return isinstance(kind, type) and issubclass(kind, AsyncSession | Session)


def marked(fn: Callable[..., Any]) -> list[str]:
    """The parameters of `fn` whose default is :func:`injected`.

    :raises InvalidOption: for a mark that is written in another way, which would make it an argument of the job.
    """
    parameters = inspect.signature(fn).parameters
    for name, one in parameters.items():
        if one.default is injected or _is_in_annotation(one.annotation):
            raise InvalidOption(
                f"{fn.__qualname__.replace('<locals>.', '')}: {name}: the mark of what the runtime fills in is the "
                f"default of the parameter, and is called: {name}: … = injected()"
            )
    return [name for name, one in parameters.items() if one.default is _MARK]


def refuse_dependency(parameter: inspect.Parameter | None, of: str) -> None:
    """Refuse a default that another framework fills in, such as FastAPI's ``Depends(…)``.

    :param parameter: one that is an argument of the job; None for what a function returns.
    :param of: the function's name, for the message.
    :raises InvalidOption: for such a parameter: the job would get the ``Depends`` itself.
    """
    if parameter is not None and type(parameter.default).__name__ in ("Depends", "Security"):
        raise InvalidOption(
            f"{of}: {parameter.name}: nothing fills in {type(parameter.default).__name__}(…) in a job; write "
            f"{parameter.name}: … = injected(), and give the function to Oban(resources={{the type: function}})"
        )


def meant(parameters: Mapping[str, inspect.Parameter]) -> str:
    """What to do where the first parameter was meant for the job that runs; empty where it was not."""
    first = next(iter(parameters.values()))
    if first.name not in _OF_OTHERS or first.annotation is not first.empty:
        return ""
    return f"; {first.name!r} is an argument, too: for the job that runs write {first.name}: Job"


def _is_in_annotation(hint: Any) -> bool:
    if isinstance(hint, str):
        return bool(re.search(r"\bAnnotated\[.*\binjected\b", hint))
    return typing.get_origin(hint) is Annotated and any(one is _MARK or one is injected for one in hint.__metadata__)
