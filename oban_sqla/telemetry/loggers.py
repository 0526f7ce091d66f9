"""The loggers of the package, by what they log."""

from __future__ import annotations

import logging

logger = logging.getLogger("oban_sqla")
"""The parent of the others."""

job_logger = logging.getLogger("oban_sqla.job")
"""What becomes of each job."""

node_logger = logging.getLogger("oban_sqla.node")
"""The start, the stop and the background loops of a node."""

queue_logger = logging.getLogger("oban_sqla.queue")
"""Queues that change, and jobs that this node can't run."""

leader_logger = logging.getLogger("oban_sqla.leader")
"""Which node leads, and what a leader repairs."""

cron_logger = logging.getLogger("oban_sqla.cron")
"""Entries and ticks of the crontab."""
