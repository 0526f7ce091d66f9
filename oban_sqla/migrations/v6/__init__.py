"""Version 6: fewer indexes of the jobs, and functions that use those.

A statement opens each index of its table, and plans its condition, also where no row has an entry in it. So seven
indexes for workflows, batches and chains became three, and a fetch and its ack of plain jobs cost about as much as by
version 1 again. The programs of version 5 go on beside it.

Belongs here: what version 6 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from ..part import joined
from . import chains, flows, jobs

VERSION = joined((jobs.PART, flows.PART, chains.PART))
"""What a version of the schema consists of."""
