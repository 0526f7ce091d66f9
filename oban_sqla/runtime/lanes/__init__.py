"""The connections that a node holds for itself, apart from the user's pool.

Belongs here: connecting, session settings, timeouts, and noticing poolers and lost connections. Does not: how many
lanes a node has (see `runtime/connections.py`), which statements are sent, and when (see the loops in `runtime`).
"""
