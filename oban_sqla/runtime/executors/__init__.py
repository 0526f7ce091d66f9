"""Where the code of a job runs: on the event loop, or in threads.

Belongs here: how a call is carried out, and how it is asked to stop. Does not: what follows from its result, which the
modules around it decide, write and report.
"""
