"""The database that all checks examine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, TextClause

from ...options.heartbeat import Heartbeat
from ...statements.catalog import SERVER
from ...statements.identify import schema_of
from ..roster import Roster, read


@dataclass
class Database:
    """A database that is examined, in one transaction that only reads.

    :ivar connection: executes the statements of the checks.
    :ivar pooled: whether connections go through a transaction pooler; a text says why that could not be found out.
    :ivar heartbeat: of the nodes that don't publish their own.
    """

    connection: Connection
    pooled: bool | str
    heartbeat: Heartbeat

    @cached_property
    def jobs(self) -> str:
        """The name of the jobs table, as SQL; for ``to_regclass`` too."""
        return f"{self.prefix}oban_jobs"

    @cached_property
    def prefix(self) -> str:
        """The schema of the tables as SQL, with its dot; blank when the search path finds them."""
        schema = schema_of(self.connection)
        quote = self.connection.dialect.identifier_preparer.quote
        return "" if schema is None else f"{quote(schema)}."

    @cached_property
    def server(self) -> Any:
        """See :data:`~oban_sqla.statements.catalog.SERVER`."""
        return self.rows(SERVER)[0]

    @cached_property
    def roster(self) -> Roster:
        """The nodes and leaders at this moment."""
        return read(self.connection, self.heartbeat)

    def rows(self, statement: TextClause, **parameters: Any) -> list[Any]:
        """The rows of a statement of ``catalog``; it may name the jobs table ``:jobs``."""
        if ":jobs" in statement.text:
            parameters["jobs"] = self.jobs
        return list(self.connection.execute(statement, parameters))
