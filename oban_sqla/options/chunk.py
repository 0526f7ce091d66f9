"""Chunks: jobs that run together, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ..errors import InvalidOption
from .duration import seconds
from .fields import check_fields, kept_fields
from .spelling import spelled

LARGEST = 10_000
LONGEST = 3_600.0


@spelled
@dataclass(frozen=True, slots=True)
class Chunk:
    """How many jobs of a worker run together, in one call: ``@job(chunk=Chunk(size=100, timeout=1.0))``.

    The call begins when `size` jobs have come together, or when the first of them has waited for `timeout`. It takes
    one slot of its node; in the limits of the cluster each of its jobs counts.

    :param size: the largest number of jobs in one call, 1 to 10,000. Default 100.
    :param timeout: seconds, or a timedelta, that the first job waits for others, at most an hour. Default 1 s. Jobs
        that collect are ``executing`` already.
    :param by: only jobs that have this in common run together: ``"args.tenant_id"``, ``"meta.region"``, or a sequence
        of these. Default: any jobs of the worker, in one queue.
    :raises InvalidOption: for a value that is not valid.
    """

    size: int = 100
    timeout: float | timedelta = 1.0
    by: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not 1 <= self.size <= LARGEST:
            raise InvalidOption(f"Chunk: size must be a number of jobs from 1 to {LARGEST:,}, got {self.size!r}")
        if seconds(self.timeout, "Chunk(timeout)") > LONGEST:
            raise InvalidOption(f"Chunk: timeout must be at most {LONGEST:g} seconds, got {self.timeout!r}")
        if self.by is not None:
            object.__setattr__(self, "by", kept_fields(self.by, "Chunk"))

    @property
    def seconds(self) -> float:
        """The timeout in seconds."""
        return seconds(self.timeout, "Chunk(timeout)")

    @property
    def fields(self) -> tuple[str, ...]:
        """What the jobs of a chunk have in common: their worker always."""
        by = () if self.by is None else check_fields(self.by, "Chunk")
        return ("worker", *(field for field in by if field != "worker"))

    def __str__(self) -> str:
        by = ", ".join(self.fields[1:])
        return f"{self.size} jobs or {self.seconds:g} s" + (f", by {by}" if by else "")
