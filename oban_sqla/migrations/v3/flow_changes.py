"""Changing a workflow as a whole: retrying, deleting and pruning it. Each locks the root of its tree first.

No release goes on in the tree meanwhile. The jobs are locked after that in the order of their ids, and waited for: the
caller wants to know that the change happened.
"""

from ..part import Part

FINISHED = "('completed', 'cancelled', 'discarded')"

TREE = """
CREATE OR REPLACE FUNCTION {schema}oban_flow_tree(flow bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $$
  WITH RECURSIVE tree AS (
    SELECT w.id FROM {schema}oban_workflows w WHERE w.id = flow
     UNION
    SELECT w.id FROM tree t JOIN {schema}oban_workflows w ON w.parent_id = t.id)
  SELECT coalesce(array_agg(t.id), '{{}}') FROM tree t
$$"""

LOCK = """
  PERFORM FROM {schema}oban_workflows w
    WHERE w.id = (SELECT coalesce(v.root_id, v.id) FROM {schema}oban_workflows v WHERE v.id = flow)
      FOR NO KEY UPDATE;"""

# What begins again is suspended, each of its edges is judged anew by the present state of what it waits for, and the
# releaser looks at each: so what waits for nothing begins at once, and nothing that is done is waited for.
RETRY = f"""
CREATE OR REPLACE FUNCTION {{schema}}oban_retry_flow(flow bigint, node text) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  tree bigint[];  chosen bigint[] := '{{{{}}}}';  front bigint[];  gone bigint[];  above bigint;
BEGIN{LOCK}
  tree := {{schema}}oban_flow_tree(flow);
  IF node IS NULL THEN
    chosen := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j
                     WHERE j.workflow_id = ANY (tree) AND j.state::text IN ('cancelled', 'discarded'));
  ELSE
    front := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j WHERE j.workflow_id = flow AND j.node_name = node
                    UNION ALL
                   SELECT j.id FROM {{schema}}oban_jobs j
                    WHERE j.workflow_id = ANY (ARRAY(
                      SELECT unnest({{schema}}oban_flow_tree(w.id)) FROM {{schema}}oban_workflows w
                       WHERE w.parent_id = flow AND w.node_name = node)));
    IF front = '{{{{}}}}' THEN
      RETURN -1;
    END IF;
    WHILE front <> '{{{{}}}}' LOOP
      chosen := chosen || front;
      -- What comes after these jobs, and after the workflows that they are a part of.
      front := ARRAY(SELECT DISTINCT e.job_id FROM {{schema}}oban_deps e
                      WHERE e.dep_id = ANY (front || ARRAY(
                              SELECT coalesce(w.graft_of, -w.id) FROM {{schema}}oban_workflows w
                               WHERE w.id = ANY (tree) AND w.id <> flow
                                 AND w.id IN (SELECT j.workflow_id FROM {{schema}}oban_jobs j
                                               WHERE j.id = ANY (front))))
                        AND e.job_id <> ALL (chosen));
    END LOOP;
    chosen := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j
                     WHERE j.id = ANY (chosen) AND j.workflow_id = ANY (tree) AND j.state::text IN {FINISHED});
    -- A job that returns a workflow returns another one.
    WITH old AS (
      UPDATE {{schema}}oban_workflows w SET graft_of = NULL, parent_id = NULL, uniq_key = NULL
       WHERE w.graft_of = ANY (chosen) RETURNING w.id)
    SELECT coalesce(array_agg(o.id), '{{{{}}}}') INTO gone FROM old o;
    chosen := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j
                     WHERE j.id = ANY (chosen) AND NOT j.workflow_id = ANY (ARRAY(
                       SELECT unnest({{schema}}oban_flow_tree(g)) FROM unnest(gone) g)));
  END IF;
  PERFORM FROM {{schema}}oban_jobs j WHERE j.id = ANY (chosen) ORDER BY j.id FOR NO KEY UPDATE;
  UPDATE {{schema}}oban_jobs j
     SET state = 'suspended', max_attempts = least(greatest(j.max_attempts, j.attempt + 1), 32767),
         scheduled_at = timezone('UTC', clock_timestamp()), completed_at = NULL, cancelled_at = NULL,
         discarded_at = NULL, cancel_at = NULL,
         meta = CASE WHEN jsonb_typeof(j.meta) = 'object' THEN j.meta - '{{{{recorded,return}}}}'::text[]
                     ELSE j.meta END
   WHERE j.id = ANY (chosen) AND j.state::text IN {FINISHED} AND j.attempt < 32767;
  -- The workflows of these jobs, and those around them, go on.
  WITH RECURSIVE up AS (
    SELECT w.id, w.parent_id FROM {{schema}}oban_workflows w
     WHERE w.id IN (SELECT j.workflow_id FROM {{schema}}oban_jobs j WHERE j.id = ANY (chosen))
     UNION
    SELECT w.id, w.parent_id FROM up u JOIN {{schema}}oban_workflows w ON w.id = u.parent_id)
  UPDATE {{schema}}oban_workflows w SET state = 'executing', finished_at = NULL WHERE w.id IN (SELECT u.id FROM up u);
  UPDATE {{schema}}oban_deps e
     SET met = CASE {{schema}}oban_outcome(e.dep_id)
                 WHEN 'd' THEN 'd'
                 WHEN 'f' THEN CASE e.on_fail WHEN 'i' THEN 'd' WHEN 'w' THEN 'o' ELSE 'f' END
                 ELSE 'o' END
   WHERE e.job_id = ANY (chosen);
  INSERT INTO {{schema}}oban_news (job_id, workflow_id, state)
  SELECT j.id, j.workflow_id, 'check' FROM {{schema}}oban_jobs j WHERE j.id = ANY (chosen);
  RETURN cardinality(chosen);
END $$"""

DELETE = f"""
CREATE OR REPLACE FUNCTION {{schema}}oban_delete_flow(flow bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  tree bigint[];  ids bigint[];
BEGIN{LOCK}
  tree := ARRAY(SELECT unnest({{schema}}oban_flow_tree(flow))
                 UNION SELECT w.id FROM {{schema}}oban_workflows w WHERE w.root_id = flow);
  ids := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j WHERE j.workflow_id = ANY (tree) ORDER BY j.id FOR UPDATE);
  IF EXISTS (SELECT FROM {{schema}}oban_jobs j WHERE j.id = ANY (ids) AND j.state::text = 'executing') THEN
    RETURN NULL;
  END IF;
  INSERT INTO {{schema}}oban_news (job_id, workflow_id, state)
  SELECT coalesce(w.graft_of, -w.id), w.parent_id, 'deleted' FROM {{schema}}oban_workflows w
   WHERE w.id = flow AND w.parent_id IS NOT NULL;
  RETURN {{schema}}oban_drop_flows(tree, ids);
END $$"""

DROP = """
CREATE OR REPLACE FUNCTION {schema}oban_drop_flows(tree bigint[], ids bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
BEGIN
  DELETE FROM {schema}oban_deps e WHERE e.job_id = ANY (ids);
  DELETE FROM {schema}oban_steps s WHERE s.job_id = ANY (ids);
  DELETE FROM {schema}oban_signals s WHERE s.job_id = ANY (ids);
  DELETE FROM {schema}oban_events s WHERE s.job_id = ANY (ids);
  DELETE FROM {schema}oban_progress s WHERE s.job_id = ANY (ids);
  DELETE FROM {schema}oban_jobs j WHERE j.id = ANY (ids);
  DELETE FROM {schema}oban_workflows w WHERE w.id = ANY (tree);
  DELETE FROM {schema}oban_news n WHERE n.workflow_id = ANY (tree);
  RETURN cardinality(ids);
END $$"""

# What a user holds is left for the next round: the pruner waits for nothing.
PRUNE = f"""
CREATE OR REPLACE FUNCTION {{schema}}oban_prune_flows(age double precision, most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off AS $$
#variable_conflict use_column
DECLARE
  root bigint;  tree bigint[];  ids bigint[];  deleted integer := 0;
BEGIN
  FOR root IN SELECT w.id FROM {{schema}}oban_workflows w
               WHERE w.root_id IS NULL AND w.finished_at < timezone('UTC', now()) - make_interval(secs => age)
               ORDER BY w.finished_at LIMIT most FOR UPDATE SKIP LOCKED LOOP
    tree := root || ARRAY(SELECT w.id FROM {{schema}}oban_workflows w WHERE w.root_id = root);
    ids := ARRAY(SELECT j.id FROM {{schema}}oban_jobs j WHERE j.workflow_id = ANY (tree)
                  ORDER BY j.id FOR UPDATE SKIP LOCKED);
    CONTINUE WHEN EXISTS (SELECT FROM {{schema}}oban_jobs j
                           WHERE j.workflow_id = ANY (tree)
                             AND (j.id <> ALL (ids) OR j.state::text NOT IN {FINISHED}));
    deleted := deleted + {{schema}}oban_drop_flows(tree, ids);
    EXIT WHEN deleted >= 10000;
  END LOOP;
  RETURN deleted;
END $$"""

PART = Part(
    tables=(TREE, DROP, RETRY, DELETE, PRUNE),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_prune_flows(double precision, integer)",
        "DROP FUNCTION IF EXISTS {schema}oban_delete_flow(bigint)",
        "DROP FUNCTION IF EXISTS {schema}oban_retry_flow(bigint, text)",
        "DROP FUNCTION IF EXISTS {schema}oban_drop_flows(bigint[], bigint[])",
        "DROP FUNCTION IF EXISTS {schema}oban_flow_tree(bigint)",
    ),
)
