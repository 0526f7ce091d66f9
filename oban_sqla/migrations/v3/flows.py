"""Workflows: their rows, the edges between their jobs, and the functions that say what an edge or a reference gives.

``oban_workflows`` is a tree: a sub-flow and a graft have a `parent_id`, and the `root_id` of the whole. An edge of
``oban_deps`` says that `job_id` waits for `dep_id`, a job, or where it is negative the flow ``-dep_id``. `met` is
``o`` (open), ``d`` (done) or ``f`` (failed), `on_fail` is ``c`` (cancel), ``i`` (ignore) or ``w`` (wait).

References stay apart from the arguments, in `refs` of the edge: pairs of a path in the args and a path in the result.
A trigger puts the results into the args when the job begins to be available, no matter which program makes it so.
"""

from ..part import Part

WORKFLOWS = """
CREATE TABLE IF NOT EXISTS {schema}oban_workflows (
  id bigint GENERATED ALWAYS AS IDENTITY,
  name text NOT NULL,
  node_name text,
  uniq_key text COLLATE "C",
  parent_id bigint,
  root_id bigint,
  graft_of bigint,
  returns text,
  is_map boolean NOT NULL DEFAULT false,
  meta jsonb NOT NULL DEFAULT '{{}}',
  state text NOT NULL DEFAULT 'executing',
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  finished_at timestamp,
  CONSTRAINT oban_workflows_pkey PRIMARY KEY (id)
)"""

DEPS = """
CREATE TABLE IF NOT EXISTS {schema}oban_deps (
  dep_id bigint NOT NULL,
  job_id bigint NOT NULL,
  on_fail text COLLATE "C" NOT NULL DEFAULT 'c',
  met text COLLATE "C" NOT NULL DEFAULT 'o',
  refs jsonb,
  CONSTRAINT oban_deps_pkey PRIMARY KEY (dep_id, job_id)
)"""

INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS oban_workflows_unique_index ON {schema}oban_workflows (uniq_key)"
    " WHERE uniq_key IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_workflows_parent_index ON {schema}oban_workflows (parent_id)"
    " WHERE parent_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_workflows_open_index ON {schema}oban_workflows (parent_id)"
    " WHERE parent_id IS NOT NULL AND finished_at IS NULL",
    "CREATE INDEX IF NOT EXISTS oban_workflows_root_index ON {schema}oban_workflows (root_id)"
    " WHERE root_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_workflows_graft_index ON {schema}oban_workflows (graft_of)"
    " WHERE graft_of IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_workflows_state_index ON {schema}oban_workflows (state, id)"
    " WHERE state <> 'completed'",
    "CREATE INDEX IF NOT EXISTS oban_workflows_finished_index ON {schema}oban_workflows (finished_at)"
    " WHERE root_id IS NULL AND finished_at IS NOT NULL",
    # With what is not done: a job with a thousand edges is asked again and again whether one is left.
    "CREATE INDEX IF NOT EXISTS oban_deps_job_index ON {schema}oban_deps (job_id, met)",
)

# What an edge to this dependency is worth now, by its present state: news may be older.
OUTCOME = """
CREATE OR REPLACE FUNCTION {schema}oban_outcome(dep bigint) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN dep > 0 THEN coalesce(
      (SELECT CASE
          WHEN j.state::text IN ('cancelled', 'discarded') THEN 'f'
          WHEN j.state::text <> 'completed' THEN 'o'
          ELSE coalesce((SELECT CASE WHEN w.finished_at IS NULL THEN 'o'
                                     WHEN w.state = 'completed' THEN 'd' ELSE 'f' END
                           FROM {schema}oban_workflows w WHERE w.graft_of = dep ORDER BY w.id DESC LIMIT 1), 'd') END
         FROM {schema}oban_jobs j WHERE j.id = dep), 'f')
    ELSE coalesce(
      (SELECT CASE WHEN w.finished_at IS NULL THEN 'o' WHEN w.state = 'completed' THEN 'd' ELSE 'f' END
         FROM {schema}oban_workflows w WHERE w.id = -dep), 'f') END
$$"""

# What a node gives: a job its recorded value, or what it has grafted; a flow what it returns; a map a list.
VALUE = """
CREATE OR REPLACE FUNCTION {schema}oban_value(node bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
  kept jsonb;  flow {schema}oban_workflows;  inner_id bigint;
BEGIN
  IF node > 0 THEN
    SELECT j.meta INTO kept FROM {schema}oban_jobs j WHERE j.id = node AND j.state::text = 'completed';
    IF kept -> 'recorded' = 'true' THEN
      RETURN kept -> 'return';
    END IF;
    SELECT * INTO flow FROM {schema}oban_workflows w WHERE w.graft_of = node ORDER BY w.id DESC LIMIT 1;
  ELSE
    SELECT * INTO flow FROM {schema}oban_workflows w WHERE w.id = -node;
  END IF;
  IF flow.id IS NULL THEN
    RETURN NULL;
  END IF;
  IF flow.is_map THEN
    RETURN coalesce((SELECT jsonb_agg(
        CASE WHEN j.state::text = 'completed' AND j.meta -> 'recorded' = 'true' THEN j.meta -> 'return'
             ELSE {schema}oban_value(j.id) END ORDER BY j.id)
      FROM {schema}oban_jobs j WHERE j.workflow_id = flow.id), '[]');
  END IF;
  SELECT j.id INTO inner_id FROM {schema}oban_jobs j WHERE j.workflow_id = flow.id AND j.node_name = flow.returns;
  IF NOT FOUND THEN
    SELECT -w.id INTO inner_id FROM {schema}oban_workflows w
     WHERE w.parent_id = flow.id AND w.node_name = flow.returns AND w.graft_of IS NULL;
  END IF;
  RETURN CASE WHEN inner_id IS NOT NULL THEN {schema}oban_value(inner_id) END;
END $$"""

# A value that can't be put there leaves the arguments as they are, and the run of the job says so: one row must not
# make a statement about many raise.
FILL = """
CREATE OR REPLACE FUNCTION {schema}oban_fill() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  edge record;  pair record;  kept jsonb;  made jsonb := NEW.args;
BEGIN
  FOR edge IN SELECT d.dep_id AS dep, d.refs AS pairs FROM {schema}oban_deps d
               WHERE d.job_id = NEW.id AND d.refs IS NOT NULL LOOP
    kept := {schema}oban_value(edge.dep);
    FOR pair IN SELECT ARRAY(SELECT jsonb_array_elements_text(p -> 0)) AS place,
                       ARRAY(SELECT jsonb_array_elements_text(p -> 1)) AS part
                  FROM jsonb_array_elements(edge.pairs) p LOOP
      made := jsonb_set(made, pair.place, coalesce(kept #> pair.part, 'null'));
    END LOOP;
  END LOOP;
  IF made IS DISTINCT FROM NEW.args THEN
    NEW.args := made;
    IF NEW.partition_key IS NOT NULL THEN
      NEW.partition_key := '?';
    END IF;
  END IF;
  RETURN NEW;
EXCEPTION WHEN data_exception OR program_limit_exceeded OR array_subscript_error THEN
  RETURN NEW;
END $$"""

# `remaining` is the number of references among the arguments.
FILLING = """
CREATE OR REPLACE TRIGGER oban_jobs_fill BEFORE UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN (NEW.remaining > 0 AND NEW.workflow_id IS NOT NULL
   AND OLD.state::text IN ('suspended', 'cancelled', 'discarded')
   AND NEW.state::text IN ('available', 'scheduled', 'retryable'))
 EXECUTE FUNCTION {schema}oban_fill()"""

TRIGGERS = ("oban_jobs_fill", "oban_jobs_await")

# A job that was cancelled while it waited, and is then retried alone, waits again for the jobs before it that have not
# ended, whichever program makes it available. A job before it that has failed does not stop such a retry.
AGAIN = """
CREATE OR REPLACE FUNCTION {schema}oban_await() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM {schema}oban_deps d WHERE d.job_id = NEW.id AND d.met = 'o') THEN
    NEW.state := 'suspended';
    INSERT INTO {schema}oban_news (job_id, workflow_id, state) VALUES (NEW.id, NEW.workflow_id, 'check');
  END IF;
  RETURN NEW;
END $$"""

AWAITING = """
CREATE OR REPLACE TRIGGER oban_jobs_await BEFORE UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN (NEW.workflow_id IS NOT NULL AND OLD.state::text IN ('cancelled', 'discarded')
   AND NEW.state::text IN ('available', 'scheduled', 'retryable'))
 EXECUTE FUNCTION {schema}oban_await()"""

PART = Part(
    tables=(WORKFLOWS, DEPS, *INDEXES, OUTCOME, VALUE, FILL, AGAIN),
    locked=(FILLING, AWAITING),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_await()",
        "DROP FUNCTION IF EXISTS {schema}oban_fill()",
        "DROP FUNCTION IF EXISTS {schema}oban_value(bigint)",
        "DROP FUNCTION IF EXISTS {schema}oban_outcome(bigint)",
        "DROP TABLE IF EXISTS {schema}oban_deps, {schema}oban_workflows",
    ),
    unlocked=tuple(f"DROP TRIGGER IF EXISTS {name} ON {{schema}}oban_jobs" for name in TRIGGERS),
)
