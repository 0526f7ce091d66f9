"""A started node: its background loops, its connections, and the run of a job from fetch to ack.

Belongs here: what acts by itself after :meth:`Oban.start`. Does not: what a user or operator calls (see `control` for
changes, `insight` for questions), and SQL (see `statements`).
"""
