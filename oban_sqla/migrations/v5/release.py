"""``oban_release_flows``: what the news of flows make possible, also where they are news of more than one change.

A look takes all news since the last one, and sees only what has become of the jobs. Here it believes the news of what
was between:

* A finished job that is retried is news, and so is its next end. When one look took both, a workflow that had failed
  stayed ``failed`` although each of its jobs was completed now, and so did the workflow around it; and no node told of
  the end. Now the first news opens the workflow, even where it closes at once.
* A job that completes and is deleted had failed, for one look at both. Now what waits for it may begin, unless it uses
  its result.

And a fan-out is released with less work: what a dependency is worth is asked without a call of a function, which takes
some microseconds each time; and whether a job still waits for another is looked up from the end of the index, because
a job after ten thousand others leaves a dead entry there for each of them that has ended.
"""

from ..part import Part, filled
from ..v3 import flows, release

BEGUN = "('available', 'scheduled', 'suspended', 'executing', 'reopened', 'locked')"
"""What news say of a job that has left its end, of a workflow inside another, and of one whose row was locked then."""

OUTCOME = flows.OUTCOME.split("$$")[1].strip()
"""The query in ``oban_outcome(dep)``, which finds a column of that name as well."""

RELEASE = """
CREATE OR REPLACE FUNCTION {schema}oban_release_flows(most integer) RETURNS TABLE (queue text, jobs integer, ended text)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  roots bigint[] := '{{}}';  flows bigint[];  taken integer;  since bigint := 0;  latest bigint;
  deps bigint[];  of_flows bigint[];  touched bigint[];  heard bigint[];  ready bigint[];  doomed bigint[];
  held bigint[];  whole bigint[] := '{{}}';  freed integer := 0;
  begun bigint[];  completed bigint[];  undone bigint[];
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
                              WHERE workflow_id = ANY (flows) AND (id <= latest OR state NOT IN ('check', 'locked'))
                              ORDER BY id LIMIT <part>))
      RETURNING job_id, workflow_id, state),
    ends AS (
      SELECT DISTINCT job_id, workflow_id FROM gone WHERE state <> 'check' AND job_id IS NOT NULL)
    SELECT count(*),
           ARRAY(SELECT e.job_id FROM ends e ORDER BY e.job_id, e.workflow_id),
           ARRAY(SELECT e.workflow_id FROM ends e ORDER BY e.job_id, e.workflow_id),
           coalesce(array_agg(DISTINCT job_id) FILTER (WHERE state = 'check' AND job_id > 0), '{{}}'),
           coalesce(array_agg(DISTINCT workflow_id), '{{}}'),
           coalesce(array_agg(DISTINCT workflow_id) FILTER (WHERE state IN <begun>), '{{}}'),
           coalesce(array_agg(job_id) FILTER (WHERE state = 'completed'), '{{}}'),
           coalesce(array_agg(job_id) FILTER (WHERE state IN <begun> AND job_id IS NOT NULL), '{{}}')
      INTO taken, deps, of_flows, heard, touched, begun, completed, undone FROM gone;
    EXIT WHEN taken = 0;
    -- A large fan-out is released part by part, so that its first jobs run while the others are released.
    -- How each has ended: done, failed, open again, or left: completed, and deleted before this look.
    WITH ended AS MATERIALIZED (
      SELECT o.dep,
             CASE WHEN o.how = 'f' AND o.dep = ANY (completed) AND o.dep <> ALL (undone)
                   AND NOT EXISTS (SELECT FROM {schema}oban_jobs j WHERE j.id = o.dep) THEN 'l' ELSE o.how END AS how
        FROM (SELECT d.dep, (<outcome>) AS how FROM (SELECT DISTINCT u AS dep FROM unnest(deps) u) d OFFSET 0) o),
    chosen AS MATERIALIZED (
      SELECT ended.dep, ended.how, c.job_id FROM ended
       CROSS JOIN LATERAL (
         SELECT e.job_id FROM {schema}oban_deps e
          WHERE e.dep_id = ended.dep AND e.met = 'o'
            AND (ended.how = 'd' OR e.on_fail <> 'w' OR ended.how = 'l' AND e.refs IS NULL) LIMIT <part>) c
       WHERE ended.how <> 'o'),
    more AS (
      INSERT INTO {schema}oban_news (job_id, workflow_id, state)
      SELECT p.dep, p.flow, CASE WHEN p.dep IN (SELECT dep FROM ended WHERE how = 'l') THEN 'completed' ELSE 'more' END
        FROM unnest(deps, of_flows) p (dep, flow)
       WHERE p.dep IN (SELECT c.dep FROM chosen c GROUP BY c.dep HAVING count(*) >= <part>)),
    done AS (
      UPDATE {schema}oban_deps e
         SET met = CASE WHEN chosen.how = 'd' OR e.on_fail = 'i' OR chosen.how = 'l' AND e.refs IS NULL
                   THEN 'd' ELSE 'f' END
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
                      WHERE NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'f')
                        AND (SELECT 1 FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'o'
                              ORDER BY e.job_id DESC, e.met DESC LIMIT 1) IS NULL);
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
    SELECT w.id, CASE WHEN w.id = ANY (begun) THEN 'locked' ELSE 'check' END
      FROM {schema}oban_workflows w WHERE w.id = ANY (touched) AND w.id <> ALL (held);
    WITH again AS (
      UPDATE {schema}oban_workflows w SET state = 'executing', finished_at = NULL
       WHERE w.id = ANY (held) AND w.finished_at IS NOT NULL AND (w.id = ANY (begun) OR <open>)
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

PART = Part(
    tables=(
        filled(
            RELEASE,
            now=release.NOW,
            cause=release.CAUSE,
            state=release.STATE,
            open=release.OPEN,
            part=release.PART_OF_RELEASE,
            begun=BEGUN,
            outcome=OUTCOME,
        ),
    ),
    down=(release.PART.tables[0],),
)
