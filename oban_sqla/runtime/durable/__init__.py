"""Long jobs: what a run knows of the steps, sleeps and waits of its job, and where they are kept.

Belongs here: what happens when a job asks for a step, a sleep or a signal. Does not: the functions that it calls (see
`oban_sqla.durable`), and what becomes of a job that goes to sleep (see `verdict`).
"""
