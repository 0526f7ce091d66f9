"""Jobs that wait for their turn in a chain."""

from __future__ import annotations

from ...statements.why import before_in_chain
from ..words import chain_words
from .facts import Facts
from .reason import Reason


def in_chain(facts: Facts) -> Reason:
    """What a suspended job of a chain waits for."""
    key = facts.job.chain_key
    turn = f"it waits for its turn in the chain by {chain_words(key)}"
    row = before_in_chain.execute(facts.connection, key=key, id=facts.job.id).one_or_none()
    if row is None:
        return Reason("chain", f"{turn}, which is free: a node lets it go on at once", "start a node, if none runs")
    others = row.waiting - (row.state == "suspended")  # the first that waits is one of those
    behind = f", behind {others} more" if others else ""
    if row.state == "discarded":
        text = f"{turn}, which job {row.id} holds since it was discarded{behind}"
        return Reason(
            "chain_held", text, f"to let the chain go on: oban-sqla jobs retry {row.id}, cancel it or delete it"
        )
    return Reason("chain", f"{turn}: job {row.id} is {row.state}{behind}", f"see oban-sqla why {row.id}")
