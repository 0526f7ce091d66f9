"""What a node says when it has started: its queues, its workers, and what does not fit together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import closest
from ..runtime.config import Config
from ..telemetry import node_logger, queue_logger
from ..workers.registry import workers

MOST = 10
"""Names in one line."""


def introduce(config: Config) -> None:
    """Log the queues of a node that has started, the workers of each, and queues and workers that don't fit."""
    by_queue = _workers_by_queue()
    known = sum(len(names) for names in by_queue.values())
    queues, count = ", ".join(config.queues) or "(none)", "1 worker" if known == 1 else f"{known} workers"
    node_logger.info("%s started on %s with queues %s and %s", config.name, config.node, queues, count)
    if not config.queues:
        return
    if not known:
        queue_logger.warning(
            "no workers are registered in this process, so it can run no jobs; import the modules with @job functions"
        )
        return
    _introduce_queues(config, by_queue)
    for queue in sorted(by_queue.keys() - config.queues.keys()):
        queue_logger.info(
            "queue %r is not run by this node, so it needs another one: workers %s", queue, _listed(by_queue[queue])
        )


def _introduce_queues(config: Config, by_queue: Mapping[str, list[str]]) -> None:
    for queue, options in config.queues.items():
        if names := by_queue.get(queue):
            part, whole = config.share.limit(options.limit), options.limit
            limit = str(whole) if config.share.of == 1 else f"{part} of its node's {whole}"
            queue_logger.info("queue %r runs %s at once: %s", queue, limit, _listed(names))
            continue
        near = closest(queue, by_queue)
        hint = f"did you mean {near!r}?" if near else f"they use {_listed(by_queue)}"
        queue_logger.warning("queue %r is not used by any worker of this process; %s", queue, hint)


def _workers_by_queue() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for worker in workers.distinct():
        found.setdefault(worker.queue, []).append(worker.name)
    return found


def _listed(names: Collection[str]) -> str:
    beyond = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(sorted(names)[:MOST]) + beyond
