"""What users choose, as values: queues, pruning, uniqueness, backoff, heartbeat, schedules, payloads.

Belongs here: what an option may be, one frozen class or checking function per option, with unit, default and range.
Does not: what acts on an option (see `enqueueing` and `runtime`), and what stores it (see `models`).
"""
