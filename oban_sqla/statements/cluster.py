"""Signs of life: the rows of a node's producers."""

from sqlalchemy import Executable, Text, cast, column, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert

from ..models import Producer
from ..models.base import utc_now
from .statement import array, parameter, statement


@statement
def beat() -> Executable:
    """Say that the producers of a node are alive, in one statement.

    Inserts what is missing: the table is UNLOGGED, and empty after a crash of the server. Returns the uuids.
    """
    columns = (column("uuid", Text), column("queue", Text), column("meta", Text))
    given = func.unnest(array("uuids"), array("queues"), array("metas")).table_valued(*columns)
    rows = given.render_derived(name="given").alias("given").c
    values = select(
        cast(rows.uuid, UUID),
        parameter("name"),
        parameter("node"),
        rows.queue,
        cast(rows.meta, JSONB),
    ).order_by(rows.uuid)
    written = insert(Producer).from_select(["uuid", "name", "node", "queue", "meta"], values, include_defaults=False)
    return written.on_conflict_do_update(
        index_elements=[Producer.uuid], set_={"updated_at": utc_now(), "meta": written.excluded.meta}
    ).returning(cast(Producer.uuid, Text))


@statement
def retire() -> Executable:
    """Remove the rows of producers that have stopped."""
    return delete(Producer).where(cast(Producer.uuid, Text) == func.any(array("uuids"))).returning(Producer.queue)
