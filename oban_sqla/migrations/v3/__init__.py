"""Version 3: composition, long jobs and the dashboard. One file for each concern.

It upgrades a live table: see :class:`~oban_sqla.migrations.part.Part` for what each statement may lock.

Belongs here: what version 3 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from ..part import joined
from . import access, batches, chains, flow_changes, flows, news, release, seen, steps, streams

VERSION = joined(
    (
        news.PART,
        flows.PART,
        release.PART,
        flow_changes.PART,
        batches.PART,
        chains.PART,
        seen.PART,
        steps.PART,
        streams.PART,
        access.PART,
    )
)
"""What a version of the schema consists of."""
