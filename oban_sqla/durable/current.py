"""The ledger of the job that this code runs in."""

from __future__ import annotations

from ..errors import NotInJob
from ..runtime.durable.ledger import Ledger
from ..runtime.run import Run
from ..workers.context import outside, running


def ledger(what: str) -> Ledger:
    """The ledger of the run under way.

    :param what: the name of the public function, for the error.
    :raises NotInJob: outside of a job.
    """
    run = running.get(None)
    if not isinstance(run, Run):
        raise NotInJob(outside(what))
    return run.ledger()
