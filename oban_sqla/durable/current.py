"""The ledger of the job that this code runs in."""

from __future__ import annotations

from ..errors import NotInJob
from ..runtime.durable.ledger import Ledger
from ..runtime.run import Run
from ..workers.context import running


def ledger(what: str) -> Ledger:
    """The ledger of the run under way.

    :param what: the name of the public function, for the error.
    :raises NotInJob: outside of a job.
    """
    run = running.get(None)
    if not isinstance(run, Run):
        raise NotInJob(f"{what}() was called outside of a job; only a job has steps")
    return run.ledger()
