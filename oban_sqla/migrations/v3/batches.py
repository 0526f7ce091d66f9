"""``oban_batches`` and ``oban_release_batches``: the callbacks of a batch, each enqueued once.

One releaser at a time works on a batch: it locks its row, and never waits for it. Then it looks at the jobs of the
batch, in a statement that sees what was committed before, and enqueues the callbacks whose time has come in the same
transaction as the mark that they have fired. Appending locks the same row, in share mode.
"""

from ..part import Part, filled
from .release import FINISHED, NOW

BATCHES = """
CREATE TABLE IF NOT EXISTS {schema}oban_batches (
  id bigint GENERATED ALWAYS AS IDENTITY,
  name text,
  callbacks jsonb NOT NULL DEFAULT '{{}}',
  fired text[] NOT NULL DEFAULT '{{}}',
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  finished_at timestamp,
  CONSTRAINT oban_batches_pkey PRIMARY KEY (id)
)"""

FINISHED_INDEX = """
CREATE INDEX IF NOT EXISTS oban_batches_finished_index ON {schema}oban_batches (finished_at)
 WHERE finished_at IS NOT NULL"""

# Each question is answered by the index of the jobs of a batch, or of those that are open.
_ANY = "EXISTS (SELECT FROM {schema}oban_jobs j WHERE j.batch_id = b.id AND <which>)"
_OPEN = f"j.state NOT IN {FINISHED}"
OPEN = filled(_ANY, which=_OPEN)
# Nobody has run it yet, or its first run has not ended.
UNTRIED = filled(_ANY, which=f"{_OPEN} AND (j.attempt = 0 OR (j.attempt = 1 AND j.state::text = 'executing'))")

RELEASE = """
CREATE OR REPLACE FUNCTION {schema}oban_release_batches(most integer) RETURNS TABLE (queue text, jobs integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  batches bigint[];  mine bigint[] := '{{}}';  since bigint := 0;
BEGIN
  LOOP  -- page by page: the news of a batch that another transaction holds must not hide all others
    SELECT array_agg(DISTINCT x.batch_id), max(x.id) INTO batches, since
      FROM (SELECT batch_id, id FROM {schema}oban_news WHERE batch_id IS NOT NULL AND id > since
             ORDER BY id LIMIT most) x;
    EXIT WHEN batches IS NULL;
    DELETE FROM {schema}oban_news n
     WHERE n.batch_id = ANY (batches) AND NOT EXISTS (SELECT FROM {schema}oban_batches b WHERE b.id = n.batch_id);
    mine := ARRAY(SELECT b.id FROM {schema}oban_batches b WHERE b.id = ANY (batches)
                   ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED);
    EXIT WHEN mine <> '{{}}';
  END LOOP;
  IF mine <> '{{}}' THEN
    RETURN QUERY
      WITH gone AS MATERIALIZED (
        DELETE FROM {schema}oban_news WHERE batch_id = ANY (mine) RETURNING batch_id, state),
      told AS MATERIALIZED (
        SELECT g.batch_id, array_agg(DISTINCT g.state) AS states FROM gone g GROUP BY g.batch_id),
      looked AS MATERIALIZED (
        SELECT b.id, b.callbacks, b.fired, t.states, <open> AS is_open,
               CASE WHEN b.callbacks ? 'attempted' AND NOT 'attempted' = ANY (b.fired) THEN NOT <untried>
               END AS is_tried
          FROM told t JOIN {schema}oban_batches b ON b.id = t.batch_id),
      due AS MATERIALIZED (
        SELECT b.id, b.callbacks, k.kind FROM looked b
         CROSS JOIN unnest(ARRAY['attempted', 'cancelled', 'completed', 'discarded', 'exhausted', 'retryable']) k(kind)
         WHERE NOT k.kind = ANY (b.fired)
           AND CASE k.kind
                 WHEN 'attempted' THEN b.is_tried
                 WHEN 'completed' THEN CASE WHEN b.is_open THEN false ELSE NOT <failed> END
                 WHEN 'exhausted' THEN NOT b.is_open
                 ELSE k.kind = ANY (b.states) END),
      noted AS (
        UPDATE {schema}oban_batches b
           SET fired = b.fired || ARRAY(SELECT d.kind FROM due d WHERE d.id = b.id),
               finished_at = CASE WHEN NOT l.is_open THEN coalesce(b.finished_at, <now>) END
          FROM looked l WHERE l.id = b.id
        RETURNING 1),
      called AS (
        INSERT INTO {schema}oban_jobs (worker, queue, args, meta, tags, priority, max_attempts, scheduled_at, state,
          uniq_key, uniq_mask, chain_key, chunk_key)
        SELECT c.worker, c.queue, c.args,
               c.meta || jsonb_build_object('batch_id', d.id, 'callback', d.kind), c.tags, c.priority, c.max_attempts,
               at.due,
               CASE WHEN c.chain_by IS NOT NULL THEN 'suspended' WHEN at.due > <now> THEN 'scheduled'
                    ELSE 'available' END::{schema}oban_job_state,
               decode(c.uniq_key, 'hex'), c.uniq_mask,
               CASE WHEN c.chain_by IS NOT NULL THEN
                 c.chain || {schema}oban_partition_key(0, c.chain_by, c.worker, c.args, c.meta) END,
               CASE WHEN c.chunk_by IS NOT NULL THEN
                 {schema}oban_partition_key(0, c.chunk_by, c.worker, c.args, c.meta) END
          FROM due d
         CROSS JOIN LATERAL jsonb_to_record(d.callbacks -> d.kind) AS c(worker text, queue text, args jsonb, meta jsonb,
           tags text[], priority smallint, max_attempts smallint, at timestamp, delay double precision,
           uniq_key text, uniq_mask smallint, chain text, chain_by text[], chunk_by text[])
         CROSS JOIN LATERAL (
           SELECT coalesce(c.at, <now> + make_interval(secs => c.delay), <now>) AS due) at
         WHERE d.callbacks ? d.kind
         ORDER BY d.id, d.kind
            ON CONFLICT (uniq_key) WHERE uniq_key IS NOT NULL DO NOTHING
        RETURNING queue, state)
      SELECT c.queue, count(*) FILTER (WHERE c.state::text = 'available')::integer FROM called c GROUP BY c.queue;
  END IF;
  RETURN QUERY
    SELECT NULL::text, count(*)::integer
      FROM (SELECT FROM {schema}oban_news WHERE batch_id IS NOT NULL LIMIT 1000) x HAVING count(*) > 0;
END $$"""

FAILED = filled(_ANY, which="j.state::text IN ('cancelled', 'discarded')")

# Batches that have ended and don't know it: after a restore, or with triggers switched off.
SWEEP = """
CREATE OR REPLACE FUNCTION {schema}oban_sweep_batches(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  made integer;
BEGIN
  WITH told AS (
    INSERT INTO {schema}oban_news (batch_id, state)
    SELECT b.id, 'check' FROM {schema}oban_batches b
     WHERE b.finished_at IS NULL AND NOT <open>
       AND NOT EXISTS (SELECT FROM {schema}oban_news n WHERE n.batch_id = b.id)
     LIMIT most
    RETURNING 1)
  SELECT count(*) INTO made FROM told;
  RETURN made;
END $$"""

PART = Part(
    tables=(
        BATCHES,
        FINISHED_INDEX,
        filled(RELEASE, now=NOW, open=OPEN, untried=UNTRIED, failed=FAILED),
        filled(SWEEP, open=OPEN),
    ),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_sweep_batches(integer)",
        "DROP FUNCTION IF EXISTS {schema}oban_release_batches(integer)",
        "DROP TABLE IF EXISTS {schema}oban_batches",
    ),
)
