"""What holds for the tests themselves, so that they stay fast."""

from __future__ import annotations

from oban_sqla.workers.registry import workers


def test_no_worker_lets_the_nodes_of_other_tests_start_children() -> None:
    """A whole run has the workers of all files, and a node starts a child, for a second of the processor, where one of
    its queues has a worker with ``executor="process"``."""
    assert [
        worker.name for worker in workers.distinct() if (worker.executor, worker.queue) == ("process", "default")
    ] == []
