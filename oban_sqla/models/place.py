"""Where a job belongs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Place:
    """The workflow or batch to which a job belongs, as its insertion needs it.

    :ivar workflow_id: its flow.
    :ivar batch_id: its batch.
    :ivar node_name: what it is called in its flow.
    :ivar suspended: whether it waits to be released.
    """

    workflow_id: int | None = None
    batch_id: int | None = None
    node_name: str | None = None
    suspended: bool = False
