"""Writing jobs: in the unit of work of the user's session, or by a call; and waking the nodes that run them.

Belongs here: the listeners on sessions, the insertion with its keys and conflicts, and the announcement at commit. Does
not: changing jobs that exist (see `control`), and anything that runs in the background (see `runtime`).
"""
