"""What programs ask of a limit apart from fetching: to count what they do themselves, to suspend it, to forget.

Each takes the lock of the queue first, in a short transaction.
"""

from ..part import Part, filled
from .limits import LOCK

CONSUME = """
CREATE OR REPLACE FUNCTION {schema}oban_consume(
  q text, k text, n bigint, rate integer, per double precision, bucket boolean
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
  t double precision;
BEGIN
  PERFORM pg_advisory_xact_lock(<lock>, hashtext(q));
  t := extract(epoch FROM clock_timestamp());
  IF (SELECT a.room FROM {schema}oban_allowance(q, k, rate, per, bucket, t) a) < n THEN
    RETURN false;
  END IF;
  PERFORM {schema}oban_started(q, ARRAY[k], ARRAY[n], rate, per, t);
  RETURN true;
END $$"""

# Returns for how many seconds from now on nothing of the queue or key starts.
SUSPEND = """
CREATE OR REPLACE FUNCTION {schema}oban_suspend(q text, k text, at double precision)
RETURNS double precision LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
  ends double precision;
BEGIN
  PERFORM pg_advisory_xact_lock(<lock>, hashtext(q));
  INSERT INTO {schema}oban_rates AS r (queue, key, until) VALUES (q, k, at)
      ON CONFLICT (queue, key) DO UPDATE SET until = greatest(r.until, excluded.until)
  RETURNING r.until INTO ends;
  RETURN ends - extract(epoch FROM clock_timestamp());
END $$"""

FORGET = """
CREATE OR REPLACE FUNCTION {schema}oban_forget(q text, k text)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(<lock>, hashtext(q));
  DELETE FROM {schema}oban_rates r WHERE r.queue = q AND r.key = k;
  RETURN FOUND;
END $$"""

PART = Part(
    tables=tuple(filled(function, lock=LOCK) for function in (CONSUME, SUSPEND, FORGET)),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_forget(text, text)",
        "DROP FUNCTION IF EXISTS {schema}oban_suspend(text, text, double precision)",
        "DROP FUNCTION IF EXISTS {schema}oban_consume(text, text, bigint, integer, double precision, boolean)",
    ),
)
