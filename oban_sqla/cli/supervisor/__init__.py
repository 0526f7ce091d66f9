"""``oban-sqla start --processes N``: a node of several processes, and the process that keeps them.

Belongs here: what starts, restarts, asks and stops those processes, and their end of it. Does not: what one of them
does, which is the same as without a supervisor.
"""

from .supervised import Supervised, supervised
from .supervisor import supervise

__all__ = ["Supervised", "supervise", "supervised"]
