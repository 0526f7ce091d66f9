"""Every constant SQL statement of the queue, one file per concern.

Belongs here: statements that are built once and executed with parameters, the fragments that they share, and the format
of notifications. Does not: when a statement is executed, in which transaction, and what follows from its answer; nor
queries whose conditions a user chooses, which are built in `insight` or `control`.
"""
