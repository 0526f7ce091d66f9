"""A filled table, read by sessions that live in Tokyo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

# One job an hour, the first ones in the future: number n was completed n hours and half an hour ago, was inserted 80 s
# before, due 10 s before its start, and ran for a minute.
FILL = text(
    """
    INSERT INTO oban_jobs (worker, state, args, attempt, inserted_at, scheduled_at, attempted_at, completed_at)
    SELECT 'app.hourly', 'completed', jsonb_build_object('n', n), 1, at - interval '80 seconds',
           at - interval '70 seconds', at - interval '60 seconds', at
      FROM (SELECT n, timezone('UTC', now()) - interval '30 minutes' - n * interval '1 hour' AS at
              FROM generate_series(-100, 2000) AS n) AS numbers
    """
)


@pytest.fixture
def tokyo(sync_engine: Engine) -> Iterator[Session]:
    """A session whose connection has the time zone Asia/Tokyo, on a filled and analysed table."""
    with sync_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(FILL)
        connection.execute(text("ANALYZE oban_jobs"))
    engine = create_engine(sync_engine.url, connect_args={"options": "-c timezone=Asia/Tokyo"})
    with Session(engine) as session:
        yield session
    engine.dispose()
