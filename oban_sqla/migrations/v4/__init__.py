"""Version 4: fewer triggers with shorter conditions, because PostgreSQL reads each condition anew at every statement.

It changes what no job and no table contains; see :mod:`~oban_sqla.migrations.v4.triggers`. The programs of version 3 go
on beside it.

Belongs here: what version 4 adds to the schema; it never changes after its release. Does not: a later version, which is
a folder beside this one.
"""

from . import triggers

VERSION = triggers.PART
"""What a version of the schema consists of."""
