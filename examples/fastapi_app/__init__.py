"""A sign-up service: its users and its jobs are written by the same transactions.

======== =============================================================
file     what is in it
======== =============================================================
main     the application: endpoints, and the runtime in its lifespan
jobs     the workers
models   the user
database the engine and its sessions, from the environment
alembic  one revision that creates the users and the queue
======== =============================================================
"""
