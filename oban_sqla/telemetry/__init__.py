"""Events about jobs and nodes, for metrics, traces and logs. Names and fields are Oban's.

============================ =========================================================================================
event                        fields
============================ =========================================================================================
``oban.job.start``           ``job_id worker queue attempt max_attempts node``
``oban.job.stop``            the same, ``state`` (the job's new state), ``duration`` and ``queue_time``
``oban.job.exception``       the same, and ``error``, the exception
``oban.producer.get``        a span: ``queue demand``, then ``count``; of a queue with limits also ``limited`` and, if
                             they hold jobs back, ``wait``: in how many seconds more may start, or None
``oban.producer.ack``        a span: ``count``
``oban.stager.stage``        a span: ``staged_count``
``oban.engine.insert_jobs``  a span: ``specs``, those that are written at once. A handler of ``.start`` may add to
                             their meta: ``spec.meta = {**spec.meta, …}``
``oban.engine.insert_query`` a span: ``worker queue meta``, then ``count``: one call of `enqueue_from`. ``meta`` is a
                             dict: what a handler of ``.start`` puts into it is added to the meta of the jobs
``oban.leader.election``     a span: ``leader``, whether this node leads; also when it resigns. In ``.start`` and
                             ``.exception``: whether it led before
``oban.lifeline.rescue``     a span: ``rescued_count``
``oban.lifeline.discard``    ``job_id worker queue attempt``: the leader has discarded a job of which no run tells: its
                             node died in its last attempt, or it was available and had none left
``oban.prioritizer.raise``   a span: ``raised_count``: jobs that became more urgent because they had waited long
``oban.pruner.prune``        a span: ``pruned_count``
``oban.releaser.release``    a span: ``released_count``: jobs that waited for others, or for a signal
``oban.scheduler.evaluate``  a span: ``enqueued_count``
``oban.step``                a span: ``job_id worker queue step``: a step that was not done before calls its function
``oban.sleep``               ``job_id worker queue seconds signal``: a job goes to sleep for so long; ``signal`` is the
                             name of the signal that wakes it, or None
``oban.wait``                ``job_id worker queue signal outcome``: a wait has ended; ``outcome`` is ``"signal"`` or
                             ``"timeout"``
``oban.signal``              ``job_id signal``: a signal was written, and is sent when its transaction commits
``oban.progress``            ``job_id worker queue done total``: the progress of a job was written
``oban.queue.shutdown``      ``queue elapsed orphaned``: a queue was stopped, which took ``elapsed`` seconds;
                             ``orphaned`` are the ids of jobs that could not be stopped
``oban.workflow.stop``       ``workflow_id name state parent_id duration``: a workflow has ended, as ``"completed"``,
                             ``"failed"`` or ``"cancelled"``. Once for each end, from the node that has seen to it
``oban.batch.insert``        a span: ``specs``, the callbacks of a batch that is written; they have no id yet
``oban.batch.stop``          ``batch_id name states duration``: all jobs of a batch have finished; ``states`` is their
                             number by state. Once for each end, from the node that has seen to it
``oban.chunk.stop``          ``worker queue count states duration``: the jobs of a chunk have run in one call
``oban.queue.suspend``       ``queue seconds``: no job of the queue starts for so long; with ``key``, the values of a
                             partition as JSON, no job of that partition
``oban.fenced``              ``job_id attempt queue``: a run finished after its job had been given to another run.
                             ``oban.job.stop`` may follow, with the state ``"fenced"``
============================ =========================================================================================

A span is two events: its name with ``.start``, then with ``.stop`` or, if it raised, ``.exception``. The second event
also has ``duration``; ``.exception`` also has ``error``. All times are seconds (oban-py's are nanoseconds).

No event contains arguments of jobs, except ``specs`` and ``key``. A handler runs where the event happens, on the
event loop or in the thread of a flush, so it must be quick. If it raises, the error is logged and the handler stays
attached.

The package also logs by itself, without any events attached:

==================== =================================================================================================
logger               what it logs
==================== =================================================================================================
``oban_sqla.job``    INFO: each job that has ended, after how many milliseconds. WARNING: an attempt that failed,
                     with the exception. ERROR: a job that was discarded, with the exception
``oban_sqla.node``   INFO: start and stop, with queues and workers. WARNING: what fails and is tried again
``oban_sqla.queue``  INFO: queues and their workers; queues that are paused, suspended, scaled, started and stopped.
                     WARNING: jobs that this node can't run, queues that no worker uses or no node runs
``oban_sqla.leader`` INFO: which node leads. WARNING: rescued jobs
``oban_sqla.cron``   ERROR: entries that are ignored, ticks that were skipped
==================== =================================================================================================

Records about a job have the attributes ``job_id``, ``worker``, ``queue`` and ``attempt``. No record of the package
contains arguments of a job. No handler is attached unless the program calls :func:`basic_logging`.

Belongs here: the names of events and loggers, and how programs listen to them. Does not: what happens (see where the
event is), and the formats of other systems (see `otel` and `prometheus`).
"""

from .basic_logging import basic_logging
from .default_logger import attach_default_logger, detach_default_logger
from .events import EVENTS, Handler, attach, detach
from .events import JOB_EVENTS as JOB_EVENTS
from .events import SPANS as SPANS
from .events import execute as execute
from .events import listened as listened
from .events import span as span
from .job_filter import JobFilter
from .job_filter import running as running
from .loggers import cron_logger as cron_logger
from .loggers import job_logger as job_logger
from .loggers import leader_logger as leader_logger
from .loggers import logger as logger
from .loggers import node_logger as node_logger
from .loggers import queue_logger as queue_logger

__all__ = [
    "EVENTS",
    "Handler",
    "JobFilter",
    "attach",
    "attach_default_logger",
    "basic_logging",
    "detach",
    "detach_default_logger",
]
