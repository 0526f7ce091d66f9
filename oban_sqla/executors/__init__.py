"""Where jobs run outside their node: child processes, and executors of the user's.

Belongs here: the children, what is said to them, the protocol for other executors, and its other end. Does not: how a
job runs inside its node, and what becomes of it, which are the runtime's.
"""

from ..errors import ChildDied
from .executor import Executor
from .perform import perform

__all__ = ["ChildDied", "Executor", "perform"]
