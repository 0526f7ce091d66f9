"""The child processes in which a node runs CPU-bound jobs."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidOption
from .duration import seconds
from .spelling import spelled


@spelled
@dataclass(frozen=True, slots=True)
class Processes:
    """Child processes for workers with ``executor="process"``.

    :param size: most children, 1 to 1,000. Default: the processors that this process may use (its affinity and the
        quota of its control group), but not more than the limits of its queues together.
    :param max_jobs: jobs after which a child is replaced. Default: None, never.
    :param max_memory: bytes of resident memory above which a child is replaced after a job. Default: None, never.
    :param start_timeout: seconds that a child may take to start and to import the workers. Default 30.
    :param max_crashes: deaths of a child under the same job after which that job is discarded. Default 3.
    :param sessionmaker: ``"module:name"`` of the sessionmaker that children use for jobs with a session. Default: the
        attribute of a module that is the object given as ``Oban(sessionmaker=…)``.
    :raises InvalidOption: for values outside these.
    """

    size: int | None = None
    max_jobs: int | None = None
    max_memory: int | None = None
    start_timeout: float = 30.0
    max_crashes: int = 3
    sessionmaker: str | None = None

    def __post_init__(self) -> None:
        for option, most in (("size", 1_000), ("max_jobs", None), ("max_memory", None), ("max_crashes", 1_000)):
            value: object = getattr(self, option)
            if value is None and option != "max_crashes":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
                upto = f" to {most:,}" if most else " or more"
                raise InvalidOption(f"Processes: {option} is a whole number, 1{upto}, got {value!r}")
        if not (start_timeout := seconds(self.start_timeout, "Processes(start_timeout)")) > 0:
            raise InvalidOption(f"Processes: start_timeout is more than 0 seconds, got {self.start_timeout!r}")
        object.__setattr__(self, "start_timeout", start_timeout)
        name: object = self.sessionmaker
        if name is not None and (not isinstance(name, str) or not all(name.partition(":"))):
            raise InvalidOption(f'Processes: sessionmaker is "module:name", such as "app.db:Session", got {name!r}')
