"""What a leader does for all nodes: elect, stage, rescue, prune, and schedule cron entries.

Belongs here: one loop per duty, which writes only with its lease in the WHERE. Does not: what each node does for
itself, such as its producers, its heartbeat and its listening (see `runtime`).
"""
