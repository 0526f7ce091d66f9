"""``oban-sqla start --processes N``: a node of several processes, and the supervisor that keeps them.

Belongs here: what starts, restarts and stops these processes, and what they say to the supervisor. Does not: what a
process does otherwise, which is the same as without a supervisor.
"""

from .supervised import Supervised, supervised
from .supervisor import supervise

__all__ = ["Supervised", "supervise", "supervised"]
