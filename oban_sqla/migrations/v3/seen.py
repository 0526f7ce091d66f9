"""What the dashboard shows beside the jobs: what ended in each minute, how much waited, and who changed what.

A node writes a row per queue and minute in which a job ended, and the leader the depths. These are whole values, so a
repeated statement does no harm.
"""

from ..part import Part

METRICS = """
CREATE TABLE IF NOT EXISTS {schema}oban_metrics (
  step smallint NOT NULL,
  at timestamp without time zone NOT NULL,
  queue text NOT NULL,
  origin uuid NOT NULL,
  node text NOT NULL,
  completed integer NOT NULL DEFAULT 0,
  retryable integer NOT NULL DEFAULT 0,
  discarded integer NOT NULL DEFAULT 0,
  cancelled integer NOT NULL DEFAULT 0,
  snoozed integer NOT NULL DEFAULT 0,
  busy real NOT NULL DEFAULT 0,
  run_at smallint[] NOT NULL DEFAULT '{{}}',
  run_n integer[] NOT NULL DEFAULT '{{}}',
  wait_at smallint[] NOT NULL DEFAULT '{{}}',
  wait_n integer[] NOT NULL DEFAULT '{{}}',
  PRIMARY KEY (step, at, queue, origin)
)"""

DEPTHS = """
CREATE TABLE IF NOT EXISTS {schema}oban_depths (
  step smallint NOT NULL,
  at timestamp without time zone NOT NULL,
  queue text NOT NULL,
  available integer NOT NULL DEFAULT 0,
  scheduled integer NOT NULL DEFAULT 0,
  retryable integer NOT NULL DEFAULT 0,
  executing integer NOT NULL DEFAULT 0,
  oldest real,
  PRIMARY KEY (step, at, queue)
)"""

AUDIT = """
CREATE TABLE IF NOT EXISTS {schema}oban_audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamp without time zone NOT NULL DEFAULT timezone('UTC', now()),
  who text NOT NULL,
  via text NOT NULL,
  verb text NOT NULL,
  target jsonb NOT NULL DEFAULT '{{}}',
  jobs integer,
  reason text
)"""

PART = Part(
    tables=(METRICS, DEPTHS, AUDIT),
    down=tuple(f"DROP TABLE IF EXISTS {{schema}}{name}" for name in ("oban_audit", "oban_depths", "oban_metrics")),
)
