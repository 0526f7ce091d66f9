"""``oban_release_chains``: the next job of a chain takes its turn.

A job of a chain is inserted suspended, and only this function lets it go on. One releaser at a time works in a chain:
it takes a lock of the chain that it never waits for, and looks at the chain in statements after that, which see what
was committed before. Where the head of a chain is locked by another transaction, the news stay: the job behind it must
not come first.

The key of a chain begins with what a failure does to it: ``c`` continue, ``h`` hold, ``x`` cancel.
"""

from ..part import Part, filled
from .release import FINISHED, NOW

LOCK = 0x6F626368  # "obch": the first of the two keys; the second is the hash of the chain's key.

RELEASE = """
CREATE OR REPLACE FUNCTION {schema}oban_release_chains(most integer) RETURNS TABLE (queue text, jobs integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  keys text[];  mine text[] := '{{}}';  failed text[];  heads bigint[];  held bigint[];  since bigint := 0;
BEGIN
  LOOP  -- page by page: the news of chains that another releaser has must not hide all others
    SELECT array_agg(DISTINCT x.chain_key), max(x.id) INTO keys, since
      FROM (SELECT chain_key, id FROM {schema}oban_news WHERE chain_key IS NOT NULL AND id > since
             ORDER BY id LIMIT most) x;
    EXIT WHEN keys IS NULL;
    -- A statement for itself: what comes after it sees what the holder of a lock before it has committed.
    mine := ARRAY(SELECT k FROM unnest(keys) k WHERE pg_try_advisory_xact_lock(<lock>, hashtext(k)));
    EXIT WHEN mine <> '{{}}';
  END LOOP;
  IF mine <> '{{}}' THEN
    WITH gone AS (
      DELETE FROM {schema}oban_news WHERE chain_key = ANY (mine) RETURNING chain_key, job_id, state)
    SELECT coalesce(array_agg(DISTINCT g.chain_key), '{{}}') INTO failed
      FROM gone g
     WHERE left(g.chain_key, 2) = 'x|' AND g.state = 'discarded'
       AND EXISTS (SELECT FROM {schema}oban_jobs j WHERE j.id = g.job_id AND j.state::text = 'discarded');
    IF failed <> '{{}}' THEN
      held := ARRAY(
        SELECT j.id FROM {schema}oban_jobs j WHERE j.chain_key = ANY (failed) AND j.state = 'suspended'
         ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED);
      INSERT INTO {schema}oban_news (job_id, chain_key, state)
      SELECT (SELECT max(d.id) FROM {schema}oban_jobs d WHERE d.chain_key = k AND d.state = 'discarded'), k, 'discarded'
        FROM unnest(failed) k
       WHERE EXISTS (SELECT FROM {schema}oban_jobs j
                      WHERE j.chain_key = k AND j.state = 'suspended' AND j.id <> ALL (held));
      UPDATE {schema}oban_jobs j
         SET state = 'cancelled', cancelled_at = <now>,
             errors = CASE WHEN jsonb_typeof(j.errors) = 'array' THEN j.errors ELSE '[]' END
               || jsonb_build_array(jsonb_build_object('attempt', j.attempt, 'at',
                    to_char(<now>, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'error', 'cancelled because a job before it in its chain was discarded'))
       WHERE j.id = ANY (held);
    END IF;
    -- Bounds instead of an equality, for the order that only the right index has.
    heads := ARRAY(
      SELECT h.id FROM unnest(mine) k CROSS JOIN LATERAL (
        SELECT j.id FROM {schema}oban_jobs j
         WHERE j.chain_key >= k AND j.chain_key <= k AND j.state = 'suspended'
           AND (j.workflow_id IS NULL OR NOT EXISTS (
             SELECT FROM {schema}oban_deps d WHERE d.job_id = j.id AND d.met IN ('o', 'f')))
         ORDER BY j.chain_key, j.id LIMIT 1) h
       WHERE (SELECT 1 FROM {schema}oban_jobs a
               WHERE a.chain_key >= k AND a.chain_key <= k
                 AND a.state IN ('available', 'scheduled', 'retryable', 'executing')
               ORDER BY a.chain_key LIMIT 1) IS NULL
         AND (left(k, 2) <> 'h|' OR (SELECT 1 FROM {schema}oban_jobs f
               WHERE f.chain_key >= k AND f.chain_key <= k AND left(f.chain_key, 2) = 'h|' AND f.state = 'discarded'
               ORDER BY f.chain_key LIMIT 1) IS NULL));
    held := ARRAY(SELECT j.id FROM {schema}oban_jobs j
                   WHERE j.id = ANY (heads) AND j.state::text = 'suspended'
                   ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED);
    INSERT INTO {schema}oban_news (job_id, chain_key, state)
    SELECT j.id, j.chain_key, 'check' FROM {schema}oban_jobs j WHERE j.id = ANY (heads) AND j.id <> ALL (held);
    -- For the trigger that sends back what others let go. Only a superuser may name it among a function's settings.
    PERFORM set_config('oban_sqla.promotes', 'on', true);
    RETURN QUERY
      WITH freed AS (
        UPDATE {schema}oban_jobs j
           SET state = CASE WHEN j.scheduled_at > <now> THEN 'scheduled' ELSE 'available'
                       END::{schema}oban_job_state,
               scheduled_at = greatest(j.scheduled_at, <now>)
         WHERE j.id = ANY (held)
        RETURNING j.queue, j.state)
      SELECT f.queue, count(*) FILTER (WHERE f.state::text = 'available')::integer FROM freed f GROUP BY f.queue;
    PERFORM set_config('oban_sqla.promotes', 'off', true);
  END IF;
  RETURN QUERY
    SELECT NULL::text, count(*)::integer
      FROM (SELECT FROM {schema}oban_news WHERE chain_key IS NOT NULL LIMIT 1000) x HAVING count(*) > 0;
END $$"""

# A finished job that is retried, and one of a flow whose dependencies are done, waits for its turn: whichever program
# makes it available, only the function above lets it run.
BACK = """
CREATE OR REPLACE FUNCTION {schema}oban_chain_back() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF OLD.state::text = 'suspended' THEN
    IF current_setting('oban_sqla.promotes', true) = 'on' THEN
      RETURN NEW;
    END IF;
    INSERT INTO {schema}oban_news (job_id, chain_key, state) VALUES (OLD.id, OLD.chain_key, 'check');
  END IF;
  NEW.state := 'suspended';
  RETURN NEW;
END $$"""

GOING_BACK = f"""
CREATE OR REPLACE TRIGGER oban_jobs_chain_back BEFORE UPDATE OF state ON {{schema}}oban_jobs FOR EACH ROW
 WHEN (OLD.chain_key IS NOT NULL AND OLD.state::text IN ('suspended', {FINISHED[1:]}
   AND NEW.state::text IN ('available', 'scheduled', 'retryable'))
 EXECUTE FUNCTION {{schema}}oban_chain_back()"""

# What a chain waits for was deleted; of what else has finished nobody has to hear that.
HELD = """
CREATE OR REPLACE TRIGGER oban_jobs_tell_held AFTER DELETE ON {schema}oban_jobs FOR EACH ROW
 WHEN (OLD.state::text = 'discarded' AND left(OLD.chain_key, 2) = 'h|')
 EXECUTE FUNCTION {schema}oban_tell()"""

# Heads that nothing holds up and no news speak of: after a restore, or with triggers switched off.
SWEEP = """
CREATE OR REPLACE FUNCTION {schema}oban_sweep_chains(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  made integer;
BEGIN
  WITH waiting AS (
    SELECT DISTINCT j.chain_key FROM {schema}oban_jobs j WHERE j.chain_key IS NOT NULL AND j.state = 'suspended'
     LIMIT most),
  told AS (
    INSERT INTO {schema}oban_news (chain_key, state)
    SELECT w.chain_key, 'check' FROM waiting w
     WHERE NOT EXISTS (SELECT FROM {schema}oban_jobs a WHERE a.chain_key = w.chain_key
                          AND a.state IN ('available', 'scheduled', 'retryable', 'executing'))
       AND NOT EXISTS (SELECT FROM {schema}oban_news n WHERE n.chain_key = w.chain_key)
       AND (left(w.chain_key, 2) <> 'h|' OR NOT EXISTS (
         SELECT FROM {schema}oban_jobs f
          WHERE f.chain_key = w.chain_key AND left(f.chain_key, 2) = 'h|' AND f.state = 'discarded'))
    RETURNING 1)
  SELECT count(*) INTO made FROM told;
  RETURN made;
END $$"""

INDEXES = {
    "oban_jobs_chain_held_index": (
        "(chain_key) WHERE chain_key IS NOT NULL AND left(chain_key, 2) = 'h|' AND state = 'discarded'"
    ),
}

PART = Part(
    tables=(filled(RELEASE, now=NOW, lock=LOCK), BACK, SWEEP),
    locked=(GOING_BACK, HELD),
    indexes=INDEXES,
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_sweep_chains(integer)",
        "DROP FUNCTION IF EXISTS {schema}oban_chain_back()",
        "DROP FUNCTION IF EXISTS {schema}oban_release_chains(integer)",
    ),
    unlocked=(
        "DROP TRIGGER IF EXISTS oban_jobs_tell_held ON {schema}oban_jobs",
        "DROP TRIGGER IF EXISTS oban_jobs_chain_back ON {schema}oban_jobs",
        *(f"DROP INDEX IF EXISTS {{schema}}{name}" for name in INDEXES),
    ),
)
