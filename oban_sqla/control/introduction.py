"""What a node says when it has started: its queues, its workers, and what does not fit together."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from ..errors import closest
from ..options.queue import Queue
from ..runtime.config import Config
from ..telemetry import node_logger, queue_logger
from ..telemetry.printable import shell_word
from ..workers.registry import workers

MOST = 10
"""Names in one line."""


def introduce(config: Config, runs: Mapping[str, Queue]) -> None:
    """Log the queues of a node that has started, the workers of each, and queues and workers that don't fit.

    :param runs: the queues that it runs now, which are not those of `config` where something else was asked.
    """
    by_queue = _workers_by_queue()
    known = sum(len(names) for names in by_queue.values())
    queues, count = ", ".join(config.queues) or "(none)", "1 worker" if known == 1 else f"{known} workers"
    node_logger.info("%s started on %s with queues %s and %s", config.name, config.node, queues, count)
    if not config.queues and not runs:
        return
    if not known:
        queue_logger.warning(
            "no workers are registered in this process, so it can run no jobs; import the modules with @job functions"
        )
    for queue in {**config.queues, **runs}:
        if names := by_queue.get(queue):
            _introduce_queue(queue, config, runs.get(queue), names)
        elif known:
            near = closest(queue, by_queue)
            hint = f"did you mean {near!r}?" if near else f"they use {_listed(by_queue)}"
            queue_logger.warning("queue %r is not used by any worker of this process; %s", queue, hint)
    for queue in sorted(by_queue.keys() - config.queues.keys() - runs.keys()):
        queue_logger.info(
            "queue %r is not run by this node, so it needs another one: workers %s", queue, _listed(by_queue[queue])
        )


def _introduce_queue(queue: str, config: Config, runs: Queue | None, names: Collection[str]) -> None:
    """Log how a queue runs, and what was asked of it before this start, which lasts."""
    given = config.queues.get(queue)
    part = 0 if given is None else config.share.limit(given.limit)
    if runs is None and part:
        again = f"start_queue({queue!r}) or `oban-sqla queues start {shell_word(queue)}` starts it again"
        queue_logger.warning("queue %r does not run: it was stopped by stop_queue; %s", queue, again)
        return
    limit = f"{runs.limit if runs else 0} at once"
    if given is None or (runs is not None and runs.limit != part):
        limit += ", as was asked at run time" + ("" if given is None else f" ({part} are configured)")
    elif config.share.of > 1:
        limit = f"{part} of its node's {given.limit} at once"
    queue_logger.info("queue %r runs %s: %s", queue, limit, _listed(names))
    if runs is not None and runs.paused:
        level = logging.INFO if given is not None and given.paused else logging.WARNING
        by = "as it is configured" if level == logging.INFO else "by pause_queue"
        again = f"resume_queue({queue!r}) or `oban-sqla queues resume {shell_word(queue)}` resumes it"
        queue_logger.log(level, "queue %r is paused, %s, so it starts no jobs; %s", queue, by, again)


def _workers_by_queue() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for worker in workers.distinct():
        found.setdefault(worker.queue, []).append(worker.name)
    return found


def _listed(names: Collection[str]) -> str:
    beyond = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(sorted(names)[:MOST]) + beyond
