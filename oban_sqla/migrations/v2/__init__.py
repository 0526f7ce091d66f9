"""Version 2: limits, composition, long jobs and the dashboard. One file for each concern.

It upgrades a live table: see :class:`~oban_sqla.migrations.part.Part` for what each statement may lock.
"""

from ..part import joined
from . import access, jobs, limited_fetch, limits

VERSION = joined((jobs.PART, limits.PART, limited_fetch.PART, access.PART))
