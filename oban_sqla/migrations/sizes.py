"""How large the jobs table and its indexes are, and how large they should be, by the table's statistics.

A row of the table takes its width and 28 bytes, and pages are filled to 85 %; an entry of an index takes its width and
12 bytes, and pages are filled to 90 %. The width is that of the columns, on average, by ``pg_stats``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

WASTE, SWOLLEN = 64 * 2**20, 4.0
"""Empty bytes, and how many times larger than its content a table or index is; it is too large when it has both."""

PAGE, PAGE_HEADER, ROW_HEADER, ENTRY_HEADER = 8_192, 24, 28, 12
TABLE_FILL, INDEX_FILL = 0.85, 0.9

SIZES = text("""
    SELECT x.relname AS name, x.relkind::text AS kind, pg_relation_size(x.oid) AS bytes, x.reltuples::float8 AS rows,
           (SELECT sum(s.avg_width * (1 - s.null_frac))
              FROM pg_catalog.pg_attribute a
              JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attname = a.attname
              JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
               AND s.attname = k.attname
             WHERE a.attrelid = x.oid AND a.attnum > 0)::float8 AS width
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
    JOIN pg_catalog.pg_class x ON x.oid IN (c.oid, i.indexrelid)
    WHERE c.oid = to_regclass(:jobs)
    GROUP BY x.oid, x.relname, x.relkind, x.reltuples, c.oid, c.relname, n.nspname
    ORDER BY x.relname
""")
"""The table (kind ``r``) and its indexes (``i``): their size, their rows (negative: never analysed), and the width in
bytes of what they keep of each, by the statistics of the columns; null without any."""


@dataclass(frozen=True, slots=True)
class Size:
    """A table or an index with statistics.

    :ivar name: its name.
    :ivar kind: ``"r"`` for the table, ``"i"`` for an index.
    :ivar bytes: how large it is.
    :ivar content: about how many bytes it needs.
    """

    name: str
    kind: str
    bytes: int
    content: float

    @classmethod
    def of(cls, row: Any) -> Size | None:
        """The size that a row of :data:`SIZES` tells; None without statistics."""
        if row.width is None or row.rows < 0:
            return None
        return cls(row.name, row.kind, row.bytes, expected_bytes(row.kind, row.rows, row.width))

    @property
    def is_swollen(self) -> bool:
        """Whether it is far larger than its content."""
        return self.bytes - self.content >= WASTE and self.bytes >= SWOLLEN * self.content


def expected_bytes(kind: str, rows: float, width: float) -> float:
    """What so many rows of this width take in a table (kind ``r``) or an index (``i``)."""
    header, fill = (ROW_HEADER, TABLE_FILL) if kind == "r" else (ENTRY_HEADER, INDEX_FILL)
    aligned = -(-width // 8) * 8
    return max(rows * (aligned + header) / ((PAGE - PAGE_HEADER) * fill), 1) * PAGE
