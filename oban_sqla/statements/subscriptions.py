"""Whether the jobs table is filled by logical replication."""

from sqlalchemy import Executable, Text, cast, column, select, table

from .indexes import JobsTable
from .statement import statement

_TABLE = table("pg_subscription_rel", *map(column, ("srsubid", "srrelid")), schema="pg_catalog")
_SUBSCRIPTION = table("pg_subscription", *map(column, ("oid", "subname", "subenabled")), schema="pg_catalog")


@statement
def subscriptions() -> Executable:
    """The names of the subscriptions that are enabled and write into the jobs table; every role may read them."""
    return (
        select(cast(_SUBSCRIPTION.c.subname, Text))
        .join(_TABLE, _TABLE.c.srsubid == _SUBSCRIPTION.c.oid)
        .where(_TABLE.c.srrelid == JobsTable(), _SUBSCRIPTION.c.subenabled.is_(True))
        .order_by(_SUBSCRIPTION.c.subname)
    )
