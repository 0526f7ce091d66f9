"""Version 5: a workflow or batch that goes on and ends again before any node looks has ended again.

It replaces two functions and changes no table; see :mod:`~oban_sqla.migrations.v5.ends`. The programs of version 4 go
on beside it.

Belongs here: what version 5 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from . import ends

VERSION = ends.PART
"""What a version of the schema consists of."""
