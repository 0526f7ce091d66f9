"""What PostgreSQL's catalogs say of the Oban objects in a schema, with the schema's name left out."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, create_engine, make_url, text

QUERIES = {
    "tables": """
        SELECT relname, relkind::text, relpersistence::text, reloptions FROM pg_class
         WHERE relnamespace = to_regnamespace(quote_ident(:schema)) AND relname LIKE 'oban%'""",
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
               pg_get_expr(adbin, adrelid), collname
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
          LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
          LEFT JOIN pg_collation l ON l.oid = attcollation
         WHERE relnamespace = to_regnamespace(quote_ident(:schema)) AND relname LIKE 'oban%' AND relkind = 'r'
           AND attnum > 0 AND NOT attisdropped""",
    "constraints": """
        SELECT conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = to_regnamespace(quote_ident(:schema)) AND conrelid::regclass::text LIKE '%oban%'""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema AND tablename LIKE 'oban%'""",
    "triggers": """
        SELECT tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
         WHERE relnamespace = to_regnamespace(quote_ident(:schema)) AND NOT tgisinternal""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc
         WHERE pronamespace = to_regnamespace(quote_ident(:schema)) AND proname LIKE 'oban%'""",
    "types": """
        SELECT typname, enumlabel, rank() OVER (PARTITION BY typname ORDER BY enumsortorder)
          FROM pg_type t JOIN pg_enum ON enumtypid = t.oid
         WHERE typnamespace = to_regnamespace(quote_ident(:schema))""",
}


def described(url: str, schema: str = "public") -> dict[str, list[Any]]:
    """The schema as sorted rows by kind of object; empty lists where there is nothing."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            return {kind: _rows(connection, query, schema) for kind, query in QUERIES.items()}
    finally:
        engine.dispose()


def _rows(connection: Connection, query: str, schema: str) -> list[Any]:
    rows = connection.execute(text(query), {"schema": schema})
    return sorted([[_without(schema, value) for value in row] for row in rows], key=str)


def _without(schema: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.replace(f'"{schema}".', "").replace(f"{schema}.", "")
