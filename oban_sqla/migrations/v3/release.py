"""``oban_release_flows``: what the news of flows make possible; and the sweep that finds what no trigger saw.

One releaser at a time works in a tree of flows: it locks the row of the root, and never waits for it. So the edges of a
job are judged together, and two last dependencies that end at once release it once. Dependants are locked in the order
of their ids, and what another transaction holds is kept as news and tried again. Appending locks the same row.

The edge is the truth, not the news: a dependency is judged by its present state, so news that come twice, late or after
a retry do no harm.
"""

from ..part import Part, filled

NOW = "timezone('UTC', clock_timestamp())"
FINISHED = "('completed', 'cancelled', 'discarded')"

OPEN = f"""(EXISTS (SELECT FROM {{schema}}oban_jobs j WHERE j.workflow_id = w.id AND j.state NOT IN {FINISHED})
            OR EXISTS (SELECT FROM {{schema}}oban_workflows c WHERE c.parent_id = w.id AND c.finished_at IS NULL))"""

# What failed counts where nothing in the flow comes after it; else what comes after decides.
STATE = """CASE
           WHEN NOT EXISTS (SELECT FROM {schema}oban_jobs j
                             WHERE j.workflow_id = w.id AND j.state::text IN ('cancelled', 'discarded')
                               AND NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.dep_id = j.id))
            AND NOT EXISTS (SELECT FROM {schema}oban_workflows c
                             WHERE c.parent_id = w.id AND c.state <> 'completed'
                               AND NOT EXISTS (SELECT FROM {schema}oban_deps e
                                                WHERE e.dep_id = coalesce(c.graft_of, -c.id)))
           THEN 'completed'
           WHEN EXISTS (SELECT FROM {schema}oban_jobs j WHERE j.workflow_id = w.id AND j.state::text = 'discarded')
             OR EXISTS (SELECT FROM {schema}oban_workflows c WHERE c.parent_id = w.id AND c.state = 'failed')
           THEN 'failed' ELSE 'cancelled' END"""

# The first cause: what a cancelled dependency says of its own.
CAUSE = """(SELECT coalesce(
              CASE WHEN d.state::text = 'cancelled' AND starts_with(d.errors -> -1 ->> 'error', 'cancelled because ')
                   THEN d.errors -> -1 ->> 'error' END,
              'cancelled because ' || CASE
                WHEN e.dep_id < 0 OR d.state::text = 'completed' THEN
                  'the flow ' || coalesce(quote_literal(coalesce(f.node_name, f.name)), -e.dep_id || '')
                  || ' (' || coalesce(f.id, -e.dep_id) || ') ' || coalesce(f.state, 'was deleted')
                ELSE coalesce(quote_literal(d.node_name) || ' ', '') || '(job ' || e.dep_id || ') was '
                  || coalesce(d.state::text, 'deleted') END)
             FROM {schema}oban_deps e
             LEFT JOIN {schema}oban_jobs d ON d.id = e.dep_id
             LEFT JOIN LATERAL (
               SELECT x.* FROM {schema}oban_workflows x WHERE x.id = -e.dep_id
               UNION ALL
               (SELECT y.* FROM {schema}oban_workflows y WHERE y.graft_of = e.dep_id ORDER BY y.id DESC LIMIT 1)
             ) f ON true
            WHERE e.job_id = j.id AND e.met = 'f' ORDER BY e.dep_id LIMIT 1)"""

PART_OF_RELEASE = 1_000
"""How many news are taken at once, and about how many jobs are released in one call."""

RELEASE = """
CREATE OR REPLACE FUNCTION {schema}oban_release_flows(most integer) RETURNS TABLE (queue text, jobs integer, ended text)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  roots bigint[] := '{{}}';  flows bigint[];  taken integer;  since bigint := 0;  latest bigint;
  deps bigint[];  of_flows bigint[];  touched bigint[];  heard bigint[];  ready bigint[];  doomed bigint[];
  held bigint[];  whole bigint[] := '{{}}';  freed integer := 0;
BEGIN
  latest := (SELECT max(id) FROM {schema}oban_news);
  IF latest IS NULL THEN
    RETURN;
  END IF;
  LOOP  -- page by page: the news of a flow that another transaction holds must not hide all others
    SELECT array_agg(DISTINCT x.workflow_id), max(x.id) INTO flows, since
      FROM (SELECT workflow_id, id FROM {schema}oban_news WHERE workflow_id IS NOT NULL AND id > since
             ORDER BY id LIMIT most) x;
    EXIT WHEN flows IS NULL;
    DELETE FROM {schema}oban_news n
     WHERE n.workflow_id = ANY (flows)
       AND NOT EXISTS (SELECT FROM {schema}oban_workflows w WHERE w.id = n.workflow_id);
    roots := ARRAY(SELECT w.id FROM {schema}oban_workflows w
                    WHERE w.id = ANY (ARRAY(SELECT coalesce(v.root_id, v.id) FROM {schema}oban_workflows v
                                             WHERE v.id = ANY (flows)))
                    ORDER BY w.id FOR NO KEY UPDATE SKIP LOCKED);
    EXIT WHEN roots <> '{{}}';
  END LOOP;
  flows := ARRAY(SELECT w.id FROM {schema}oban_workflows w
                  WHERE w.id = ANY (flows) AND coalesce(w.root_id, w.id) = ANY (roots));
  LOOP
    EXIT WHEN flows = '{{}}';
    -- What is kept by this very call waits for the next one.
    WITH gone AS (
      DELETE FROM {schema}oban_news
       WHERE id = ANY (ARRAY(SELECT id FROM {schema}oban_news
                              WHERE workflow_id = ANY (flows) AND (id <= latest OR state <> 'check')
                              ORDER BY id LIMIT <part>))
      RETURNING job_id, workflow_id, state),
    ends AS (
      SELECT DISTINCT job_id, workflow_id FROM gone WHERE state <> 'check' AND job_id IS NOT NULL)
    SELECT count(*),
           ARRAY(SELECT e.job_id FROM ends e ORDER BY e.job_id, e.workflow_id),
           ARRAY(SELECT e.workflow_id FROM ends e ORDER BY e.job_id, e.workflow_id),
           coalesce(array_agg(DISTINCT job_id) FILTER (WHERE state = 'check' AND job_id > 0), '{{}}'),
           coalesce(array_agg(DISTINCT workflow_id), '{{}}')
      INTO taken, deps, of_flows, heard, touched FROM gone;
    EXIT WHEN taken = 0;
    -- A large fan-out is released part by part, so that its first jobs run while the others are released.
    WITH ended AS MATERIALIZED (
      SELECT d.dep, {schema}oban_outcome(d.dep) AS how FROM (SELECT DISTINCT u AS dep FROM unnest(deps) u) d),
    chosen AS MATERIALIZED (
      SELECT ended.dep, ended.how, c.job_id FROM ended
       CROSS JOIN LATERAL (
         SELECT e.job_id FROM {schema}oban_deps e
          WHERE e.dep_id = ended.dep AND e.met = 'o' AND (ended.how = 'd' OR e.on_fail <> 'w') LIMIT <part>) c
       WHERE ended.how <> 'o'),
    more AS (
      INSERT INTO {schema}oban_news (job_id, workflow_id, state)
      SELECT p.dep, p.flow, 'more' FROM unnest(deps, of_flows) p (dep, flow)
       WHERE p.dep IN (SELECT c.dep FROM chosen c GROUP BY c.dep HAVING count(*) >= <part>)),
    done AS (
      UPDATE {schema}oban_deps e
         SET met = CASE WHEN chosen.how = 'd' OR e.on_fail = 'i' THEN 'd' ELSE 'f' END
        FROM chosen
       WHERE e.dep_id = chosen.dep AND e.job_id = chosen.job_id
      RETURNING e.job_id)
    SELECT ARRAY(SELECT DISTINCT u FROM unnest(heard || coalesce(array_agg(done.job_id), '{{}}')) u ORDER BY u)
      INTO heard FROM done;
    IF cardinality(heard) > <part> THEN
      INSERT INTO {schema}oban_news (job_id, workflow_id, state)
      SELECT j.id, j.workflow_id, 'check' FROM {schema}oban_jobs j
       WHERE j.id = ANY (heard[<part> + 1 :]) AND j.state::text = 'suspended';
      heard := heard[: <part>];
    END IF;
    -- One array in each WHERE: to look for each row in a second one takes the square of a large fan-out.
    IF heard <> '{{}}' THEN
      doomed := ARRAY(SELECT u FROM unnest(heard) u
                       WHERE EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'f'));
      ready := ARRAY(SELECT u FROM unnest(heard) u
                      WHERE NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met IN ('o', 'f')));
      held := ARRAY(SELECT j.id FROM {schema}oban_jobs j
                     WHERE j.id = ANY (ready || doomed) AND j.state::text = 'suspended'
                     ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED);
      freed := freed + cardinality(held);
      INSERT INTO {schema}oban_news (job_id, workflow_id, state)
      SELECT j.id, j.workflow_id, 'check' FROM {schema}oban_jobs j
       WHERE j.id = ANY (ARRAY(SELECT u FROM unnest(ready || doomed) u EXCEPT SELECT u FROM unnest(held) u))
         AND j.state::text = 'suspended';
      RETURN QUERY
        WITH freed AS (
          UPDATE {schema}oban_jobs j
             SET state = CASE WHEN j.scheduled_at > <now> THEN 'scheduled' ELSE 'available'
                         END::{schema}oban_job_state,
                 scheduled_at = greatest(j.scheduled_at, <now>)
           WHERE j.id = ANY (ARRAY(SELECT u FROM unnest(held) u EXCEPT SELECT u FROM unnest(doomed) u))
          RETURNING j.queue, j.state)
        SELECT f.queue, count(*) FILTER (WHERE f.state::text = 'available')::integer, NULL::text
          FROM freed f GROUP BY f.queue;
      IF doomed <> '{{}}' THEN
        WITH gone AS (
          UPDATE {schema}oban_jobs j
             SET state = 'cancelled', cancelled_at = <now>,
                 errors = CASE WHEN jsonb_typeof(j.errors) = 'array' THEN j.errors ELSE '[]' END
                   || jsonb_build_array(jsonb_build_object('attempt', j.attempt, 'at',
                        to_char(<now>, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'error', <cause>))
           WHERE j.id = ANY (ARRAY(SELECT u FROM unnest(held) u EXCEPT SELECT u FROM unnest(ready) u))
          RETURNING j.workflow_id)
        SELECT ARRAY(SELECT DISTINCT u FROM unnest(flows || coalesce(array_agg(gone.workflow_id), '{{}}')) u)
          INTO flows FROM gone;
      END IF;
    END IF;
    held := ARRAY(SELECT w.id FROM {schema}oban_workflows w WHERE w.id = ANY (touched)
                   ORDER BY w.id FOR NO KEY UPDATE SKIP LOCKED);
    INSERT INTO {schema}oban_news (workflow_id, state)
    SELECT w.id, 'check' FROM {schema}oban_workflows w WHERE w.id = ANY (touched) AND w.id <> ALL (held);
    WITH again AS (
      UPDATE {schema}oban_workflows w SET state = 'executing', finished_at = NULL
       WHERE w.id = ANY (held) AND w.finished_at IS NOT NULL AND <open>
      RETURNING w.parent_id),
    told AS (
      INSERT INTO {schema}oban_news (workflow_id, state)
      SELECT DISTINCT a.parent_id, 'reopened' FROM again a WHERE a.parent_id IS NOT NULL
      RETURNING workflow_id)
    SELECT flows || coalesce(array_agg(t.workflow_id), '{{}}') INTO flows FROM told t;
    WITH ended AS (
      UPDATE {schema}oban_workflows w
         SET finished_at = <now>, uniq_key = NULL, state = <state>
       WHERE w.id = ANY (held) AND w.finished_at IS NULL AND NOT <open>
      RETURNING w.id, w.parent_id, w.graft_of),
    told AS (
      INSERT INTO {schema}oban_news (job_id, workflow_id, state)
      SELECT coalesce(e.graft_of, -e.id), e.parent_id, 'ended' FROM ended e WHERE e.parent_id IS NOT NULL
      RETURNING workflow_id)
    SELECT flows || ARRAY(SELECT DISTINCT t.workflow_id FROM told t), whole || ARRAY(SELECT e.id FROM ended e)
      INTO flows, whole;
    EXIT WHEN freed >= <part>;
  END LOOP;
  RETURN QUERY
    SELECT NULL::text, 0, json_build_object('workflow_id', w.id, 'name', w.name, 'state', w.state,
             'parent_id', w.parent_id, 'duration', extract(epoch FROM w.finished_at - w.inserted_at))::text
      FROM {schema}oban_workflows w WHERE w.id = ANY (whole) AND w.finished_at IS NOT NULL;
  RETURN QUERY
    SELECT NULL::text, count(*)::integer, NULL::text
      FROM (SELECT FROM {schema}oban_news WHERE workflow_id IS NOT NULL LIMIT 1000) x HAVING count(*) > 0;
END $$"""

SWEEP = f"""
CREATE OR REPLACE FUNCTION {{schema}}oban_sweep_flows(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  made integer;
BEGIN
  WITH edges AS (
    SELECT DISTINCT e.dep_id, j.workflow_id
      FROM {{schema}}oban_deps e
      JOIN {{schema}}oban_jobs j ON j.id = e.job_id AND j.state::text = 'suspended' AND j.workflow_id IS NOT NULL
      LEFT JOIN {{schema}}oban_jobs d ON d.id = e.dep_id
      LEFT JOIN {{schema}}oban_workflows f ON f.id = -e.dep_id
     WHERE e.met = 'o'
       AND CASE WHEN e.dep_id > 0 THEN d.id IS NULL OR d.state::text IN {FINISHED}
                ELSE f.id IS NULL OR f.finished_at IS NOT NULL END
       AND {{schema}}oban_outcome(e.dep_id) IN ('d', CASE WHEN e.on_fail <> 'w' THEN 'f' END)
     LIMIT most),
  waiting AS (
    SELECT j.id, j.workflow_id
      FROM {{schema}}oban_jobs j
     WHERE j.state = 'suspended' AND j.workflow_id IS NOT NULL AND j.chain_key IS NULL
       AND (NOT EXISTS (SELECT FROM {{schema}}oban_deps e WHERE e.job_id = j.id AND e.met = 'o')
            OR EXISTS (SELECT FROM {{schema}}oban_deps e WHERE e.job_id = j.id AND e.met = 'f'))
     LIMIT most),
  flows AS (
    SELECT w.id FROM {{schema}}oban_workflows w
     WHERE w.state <> 'completed' AND w.finished_at IS NULL AND NOT <open>
     LIMIT most),
  told AS (
    INSERT INTO {{schema}}oban_news (job_id, workflow_id, state)
    SELECT found.job_id, found.workflow_id, found.state
      FROM (SELECT dep_id AS job_id, workflow_id, 'swept' AS state FROM edges
             UNION ALL SELECT id, workflow_id, 'check' FROM waiting
             UNION ALL SELECT NULL, id, 'check' FROM flows) found
     WHERE NOT EXISTS (SELECT FROM {{schema}}oban_news n WHERE n.workflow_id = found.workflow_id)
       AND EXISTS (SELECT FROM {{schema}}oban_workflows w WHERE w.id = found.workflow_id)
    RETURNING 1)
  SELECT count(*) INTO made FROM told;
  RETURN made;
END $$"""

PART = Part(
    tables=(
        filled(RELEASE, now=NOW, cause=CAUSE, state=STATE, open=OPEN, part=PART_OF_RELEASE),
        filled(SWEEP, open=OPEN),
    ),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_sweep_flows(integer)",
        "DROP FUNCTION IF EXISTS {schema}oban_release_flows(integer)",
    ),
)
