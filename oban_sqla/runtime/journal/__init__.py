"""What runs tell while they run: their progress, events and log lines.

Belongs here: how that is kept until it is written, who writes it, and how readers learn of it. Does not: the statements
(see `statements.journal`), and what jobs call (see `workers.journal`).
"""
