"""Options of a job: how a spec brings what a column of ``oban_jobs`` holds.

A column of :class:`Job` names its options in its ``info``, and that is the only place where they are listed. The
parameters of specs and workers, their checks and defaults, insertions, changes and copies are derived from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column
from sqlalchemy.types import TypeEngine

_KEY = "oban_sqla.options"


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a spec.

    :param name: as users give it.
    :param check: called with the name and a given value; returns the value in the form in which a spec keeps it.
        Raises InvalidOption or InvalidArgs for a value that the column can't hold.
    :param default: in that form. Default: None.
    :param attribute: of the spec that holds it. Default: the name.
    :param parameter: of the insertion. Default: the name.
    :param type: of that parameter. Default: that of the column.
    :param value: makes of a kept value the one that JSON, or the column of a Job, has. Default: the same.
    :param of_worker: whether a worker can have it for all of its jobs. Default True.
    :param changes: whether :meth:`Oban.update` can change it. Default True.
    """

    name: str
    check: Callable[[str, Any], Any]
    default: Any = None
    attribute: str = ""
    parameter: str = ""
    type: TypeEngine[Any] | None = None
    value: Callable[[Any], Any] = _same
    of_worker: bool = True
    changes: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute", self.attribute or self.name)
        object.__setattr__(self, "parameter", self.parameter or self.name)


def brought(*options: Option) -> dict[str, Any]:
    """The ``info`` of a column whose value a spec brings.

    :param options: that fill it; one of them, where there are several. None for columns that are not options: the
        worker and the args.
    """
    return {_KEY: options}


def is_brought(column: Column[Any]) -> bool:
    """Whether a spec brings the value of `column`."""
    return _KEY in column.info


def options_of(column: Column[Any]) -> tuple[Option, ...]:
    """The options that fill `column`."""
    found: tuple[Option, ...] = column.info.get(_KEY, ())
    return found
