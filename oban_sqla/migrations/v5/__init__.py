"""Version 5: the releases believe news of a change that was over, or hidden by another one, when a node looked.

It replaces three functions and changes no table. The programs of version 4 go on beside it.

Belongs here: what version 5 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from ..part import joined
from . import groups, release

VERSION = joined((release.PART, groups.PART))
"""What a version of the schema consists of."""
