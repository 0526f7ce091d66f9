"""Limits of the whole cluster: how queues are partitioned, what has started lately, and the functions around them.

One lock for each queue, ``pg_advisory_xact_lock(LOCK, hashtext(queue))``, orders everything that a limit depends on. It
is taken in a separate statement: the statements after it see what was committed before. A count in the statement
that waits for the lock has an older snapshot, and overshoots.
"""

from ..part import Part, filled

LOCK = 0x6F62616E  # "oban": the first of the two keys; the second is the hash of the queue's name.

PARTITIONS = """
CREATE TABLE IF NOT EXISTS {schema}oban_partitions (
  queue text NOT NULL,
  by text[] NOT NULL DEFAULT '{{}}',
  epoch integer NOT NULL,
  updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  CONSTRAINT oban_partitions_pkey PRIMARY KEY (queue)
)"""

RATES = """
CREATE TABLE IF NOT EXISTS {schema}oban_rates (
  queue text NOT NULL,
  key text COLLATE "C" NOT NULL,
  ts double precision[] NOT NULL DEFAULT '{{}}',
  ns bigint[] NOT NULL DEFAULT '{{0}}',
  tat double precision NOT NULL DEFAULT 0,
  until double precision NOT NULL DEFAULT 0,
  idle_at double precision NOT NULL DEFAULT 0,
  CONSTRAINT oban_rates_pkey PRIMARY KEY (queue, key)
) WITH (fillfactor = 40)"""

# A key begins with its epoch, so that one look at either end of an index finds those that are not of the present one;
# '?' sorts behind all digits. More than 200 bytes would not be sure to fit into an index.
KEY = """
CREATE OR REPLACE FUNCTION {schema}oban_partition_key(epoch integer, by text[], worker text, args jsonb, meta jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT epoch || '|' || CASE WHEN octet_length(given.found) <= 200 THEN given.found ELSE md5(given.found) END
    FROM (SELECT jsonb_agg(CASE
             WHEN field.path = 'worker' THEN to_jsonb(worker)
             WHEN left(field.path, 5) = 'meta.' THEN meta #> string_to_array(substr(field.path, 6), '.')
             ELSE args #> string_to_array(substr(field.path, 6), '.') END ORDER BY field.place)::text AS found
            FROM unnest(by) WITH ORDINALITY field(path, place)) given
$$"""

# A job that moves to another queue, or gets other arguments, gets another key: when it is next fetched.
MARK = """
CREATE OR REPLACE FUNCTION {schema}oban_mark_partition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.partition_key := '?';
  RETURN NEW;
END $$"""

MARKING = """
CREATE OR REPLACE TRIGGER oban_jobs_mark_partition BEFORE UPDATE OF queue, worker, args ON {schema}oban_jobs
 FOR EACH ROW WHEN (NEW.state::text <> 'executing' AND NEW.partition_key IS NOT DISTINCT FROM OLD.partition_key
   AND (NEW.queue, NEW.worker, NEW.args) IS DISTINCT FROM (OLD.queue, OLD.worker, OLD.args))
 EXECUTE FUNCTION {schema}oban_mark_partition()"""

# The first epoch of a queue is the number of the minute, because keys of an earlier table may still be there.
PARTITION = """
CREATE OR REPLACE FUNCTION {schema}oban_partition(q text, fields text[])
RETURNS boolean LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  present integer;
BEGIN
  PERFORM pg_advisory_xact_lock(<lock>, hashtext(q));
  IF coalesce((SELECT p.by FROM {schema}oban_partitions p WHERE p.queue = q), '{{}}') = fields THEN
    RETURN false;
  END IF;
  INSERT INTO {schema}oban_partitions AS p (queue, by, epoch)
  VALUES (q, fields, (extract(epoch FROM clock_timestamp()) - 1767225600)::bigint / 60)
      ON CONFLICT (queue) DO UPDATE SET by = excluded.by, epoch = p.epoch + 1, updated_at = timezone('UTC', now())
  RETURNING p.epoch INTO present;
  UPDATE {schema}oban_jobs j
     SET partition_key = CASE WHEN fields <> '{{}}' THEN
           {schema}oban_partition_key(present, fields, j.worker, j.args, j.meta) END
   WHERE j.id = ANY (ARRAY(SELECT id FROM {schema}oban_jobs WHERE state = 'executing' AND queue = q
                              FOR UPDATE SKIP LOCKED));
  RETURN true;
END $$"""

# What a start of a job costs, whatever another program has written there.
WEIGHT = """
CREATE OR REPLACE FUNCTION {schema}oban_weight(meta jsonb, most integer)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN jsonb_typeof(meta -> 'weight') = 'number'
              THEN greatest(1, least((meta ->> 'weight')::numeric, most))::integer ELSE 1 END
$$"""

# What a row `r` of oban_rates allows at the time `t`, and when it allows more.
#
# "sliding": `ts` are the times of starts, `ns` what had started up to each, with what had before the first in front.
# An entry counts for as long as each of its starts is inside of (t - per, t], or a fiftieth of `per` longer; so no
# window of that length ever holds more than `rate`. "token_bucket": `tat` is when the bucket will be full again. Both
# are always kept, so that nodes may disagree, and change from one to the other.
_EXPIRED = "width_bucket(t - <per>, r.ts)"
_TOKENS = "floor(<rate> - (r.tat - t) * <rate> / <per> + 1e-6)"
ROOM = f"""CASE WHEN r.until > t THEN 0 WHEN <rate> IS NULL THEN 2147483647
            WHEN <bucket> THEN greatest(0, least(<rate>, {_TOKENS}))
            ELSE greatest(0, <rate> - (r.ns[cardinality(r.ts) + 1] - r.ns[{_EXPIRED} + 1])) END"""
OPENS = f"""CASE WHEN r.until > t THEN r.until WHEN <rate> IS NULL THEN t
            WHEN <bucket> THEN greatest(t, r.tat - (<rate> - {_TOKENS} - 1) * <per> / <rate>)
            ELSE coalesce(r.ts[{_EXPIRED} + 1] + <per>, t) END"""

ALLOWANCE = """
CREATE OR REPLACE FUNCTION {schema}oban_allowance(
  q text, k text, rate integer, per double precision, bucket boolean, t double precision,
  OUT room integer, OUT opens double precision
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  SELECT <room>,
         <opens>
    INTO room, opens FROM {schema}oban_rates r WHERE r.queue = q AND r.key = k;
  IF NOT FOUND THEN
    room := coalesce(rate, 2147483647);
    opens := t;
  END IF;
END $$"""

# Called under the queue's lock, which makes the order of the keys no matter. Starts of the same fiftieth of the period
# share an entry.
STARTED = """
CREATE OR REPLACE FUNCTION {schema}oban_started(
  q text, keys text[], counts bigint[], rate integer, per double precision, t double precision
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO {schema}oban_rates AS r (queue, key, ts, ns, tat, idle_at)
  SELECT q, given.key, ARRAY[t], ARRAY[0, given.n], t + given.n * per / rate, t + greatest(per, given.n * per / rate)
    FROM unnest(keys, counts) given(key, n)
      ON CONFLICT (queue, key) DO UPDATE
     SET ts = CASE WHEN <same> THEN r.ts[<first>:cardinality(r.ts) - 1] ELSE r.ts[<first>:] END || t,
         ns = CASE WHEN <same> THEN r.ns[<first>:cardinality(r.ts)] ELSE r.ns[<first>:] END
              || r.ns[cardinality(r.ts) + 1] + excluded.ns[2],
         tat = greatest(r.tat, t) + excluded.ns[2] * per / rate,
         idle_at = greatest(r.idle_at, t + per, greatest(r.tat, t) + excluded.ns[2] * per / rate);
END $$"""
_FIRST = "width_bucket(t - per, r.ts) + 1"
_SAME = "r.ts[cardinality(r.ts)] > t - per AND floor(r.ts[cardinality(r.ts)] * 50 / per) = floor(t * 50 / per)"
_OWN = {"rate": "rate", "per": "per", "bucket": "bucket"}

PART = Part(
    tables=(
        PARTITIONS,
        RATES,
        KEY,
        MARK,
        filled(PARTITION, lock=LOCK),
        WEIGHT,
        filled(ALLOWANCE, room=filled(ROOM, **_OWN), opens=filled(OPENS, **_OWN)),
        filled(STARTED, first=_FIRST, same=_SAME),
    ),
    locked=(
        "ALTER TABLE {schema}oban_jobs ALTER COLUMN partition_key SET DEFAULT '?'",
        "ALTER TABLE {schema}oban_queues ADD COLUMN IF NOT EXISTS limits jsonb",
        MARKING,
    ),
    indexes={
        # The priority first: keys take turns within it.
        "oban_jobs_ring_index": (
            "(queue, priority, partition_key, scheduled_at, id) WHERE state = 'available' AND partition_key IS NOT NULL"
        ),
        "oban_jobs_ring_executing_index": (
            "(queue, partition_key) WHERE state = 'executing' AND partition_key IS NOT NULL"
        ),
    },
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_started(text, text[], bigint[], integer, float8, float8)",
        "DROP FUNCTION IF EXISTS {schema}oban_allowance(text, text, integer, float8, boolean, float8)",
        "DROP FUNCTION IF EXISTS {schema}oban_weight(jsonb, integer)",
        "DROP FUNCTION IF EXISTS {schema}oban_partition(text, text[])",
        "DROP FUNCTION IF EXISTS {schema}oban_mark_partition()",
        "DROP FUNCTION IF EXISTS {schema}oban_partition_key(integer, text[], text, jsonb, jsonb)",
        "DROP TABLE IF EXISTS {schema}oban_rates, {schema}oban_partitions",
    ),
    unlocked=(
        "DROP TRIGGER IF EXISTS oban_jobs_mark_partition ON {schema}oban_jobs",
        "DROP INDEX IF EXISTS {schema}oban_jobs_ring_index",
        "DROP INDEX IF EXISTS {schema}oban_jobs_ring_executing_index",
        "ALTER TABLE {schema}oban_jobs ALTER COLUMN partition_key DROP DEFAULT",
        "ALTER TABLE {schema}oban_queues DROP COLUMN IF EXISTS limits",
    ),
)
