"""Version 2: limits, and what several features share in the jobs table. One file for each concern.

It upgrades a live table: see :class:`~oban_sqla.migrations.part.Part` for what each statement may lock.

Belongs here: what version 2 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from ..part import joined
from . import access, jobs, limited_fetch, limiter, limits

VERSION = joined((jobs.PART, limits.PART, limited_fetch.PART, limiter.PART, access.PART))
