"""Chains: jobs that run one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Literal

from ..errors import InvalidOption
from .fields import check_fields, kept_fields
from .spelling import spelled

OnFailure = Literal["continue", "hold", "cancel"]
LETTERS: dict[OnFailure, str] = {"continue": "c", "hold": "h", "cancel": "x"}
"""With which the key of a chain begins, by what a failure does to it."""

_LONGEST = 100


@spelled
@dataclass(frozen=True, slots=True)
class Chain:
    """Jobs of one key run one at a time, in the order in which they were enqueued: ``@job(chain=Chain(by="worker"))``.

    A job waits in the state ``suspended`` for its turn, in whatever queue it is. It never runs before a job that was
    committed before it was enqueued; transactions that overlap have no order. A job that is to be retried keeps its
    turn, and one that had finished and is retried waits for its turn again. Workers with the same `by` and `on_failure`
    share their chains, unless ``"worker"`` is part of `by`; those of another `on_failure` are other chains. Only
    processes that know the worker put its jobs into the chain.

    :param by: ``"worker"``, ``"args.account_id"``, ``"meta.region"``, or a sequence of these: the key. What is missing
        in args or meta counts as null.
    :param on_failure: what a job that is discarded does to the jobs behind it. ``"continue"`` (default): the next one
        runs. ``"hold"``: none runs until that job is retried, deleted or cancelled; the pruner leaves it alone.
        ``"cancel"``: all that wait are cancelled.
    :raises InvalidOption: for a value that is not valid.
    """

    by: str | Sequence[str]
    on_failure: OnFailure = "continue"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", kept_fields(self.by, "Chain"))
        if self.on_failure not in LETTERS:
            raise InvalidOption(f'Chain: on_failure must be "continue", "hold" or "cancel", got {self.on_failure!r}')

    @property
    def fields(self) -> tuple[str, ...]:
        """What `by` names, in order."""
        return check_fields(self.by, "Chain")

    @property
    def prefix(self) -> str:
        """The beginning of the keys of these chains: what a failure does, and the names of the fields."""
        names = ",".join(self.fields)
        if len(names) > _LONGEST:  # an index can't hold any length
            names = md5(names.encode(), usedforsecurity=False).hexdigest()
        return f"{LETTERS[self.on_failure]}|{names}|"

    def __str__(self) -> str:
        then = "" if self.on_failure == "continue" else f", {self.on_failure} after a failure"
        return f"by {', '.join(self.fields)}{then}"
