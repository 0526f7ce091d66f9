"""Version 1: the tables of Oban (as oban-py 0.7 creates them), and what the queue needs beyond.

Every statement can be run again, and on tables that oban-py created. Nothing here may be changed once a version was
released; a new version goes into a new file.
"""

UP = (
    """
DO $$ BEGIN
  IF to_regtype('{schema}oban_job_state') IS NULL THEN
    CREATE TYPE {schema}oban_job_state AS ENUM
      ('available', 'scheduled', 'suspended', 'executing', 'retryable', 'completed', 'discarded', 'cancelled');
  END IF;
END $$""",
    "ALTER TYPE {schema}oban_job_state ADD VALUE IF NOT EXISTS 'suspended' AFTER 'scheduled'",
    """
CREATE TABLE IF NOT EXISTS {schema}oban_jobs (
  id bigint GENERATED ALWAYS AS IDENTITY,
  state {schema}oban_job_state NOT NULL DEFAULT 'available',
  queue text NOT NULL DEFAULT 'default',
  worker text NOT NULL,
  attempt smallint NOT NULL DEFAULT 0,
  max_attempts smallint NOT NULL DEFAULT 20,
  priority smallint NOT NULL DEFAULT 0,
  args jsonb NOT NULL DEFAULT '{{}}',
  meta jsonb NOT NULL DEFAULT '{{}}',
  tags text[] NOT NULL DEFAULT ARRAY[]::text[],
  errors jsonb NOT NULL DEFAULT '[]',
  attempted_by text[] NOT NULL DEFAULT ARRAY[]::text[],
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  attempted_at timestamp,
  cancelled_at timestamp,
  completed_at timestamp,
  discarded_at timestamp,
  CONSTRAINT oban_jobs_pkey PRIMARY KEY (id),
  CONSTRAINT attempt_range CHECK (attempt >= 0 AND attempt <= max_attempts),
  CONSTRAINT queue_length CHECK (char_length(queue) > 0),
  CONSTRAINT worker_length CHECK (char_length(worker) > 0),
  CONSTRAINT positive_max_attempts CHECK (max_attempts > 0),
  CONSTRAINT non_negative_priority CHECK (priority >= 0)
)""",
    """
ALTER TABLE {schema}oban_jobs
  ADD COLUMN IF NOT EXISTS uniq_key bytea,
  ADD COLUMN IF NOT EXISTS uniq_mask smallint NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS partition_key text COLLATE "C",
  ADD COLUMN IF NOT EXISTS workflow_id bigint,
  ADD COLUMN IF NOT EXISTS remaining integer,
  ADD COLUMN IF NOT EXISTS chain_key text COLLATE "C",
  ADD COLUMN IF NOT EXISTS batch_id bigint,
  ADD COLUMN IF NOT EXISTS cancel_at timestamp""",
    # Vacuum early and analyse often: a queue is where dead rows and stale statistics hurt first.
    """
ALTER TABLE {schema}oban_jobs SET (
  fillfactor = 85,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50,
  autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 100,
  autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 1000,
  autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_cost_delay = 1)""",
    """
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}oban_leaders (
  name text NOT NULL DEFAULT 'oban',
  node text NOT NULL,
  elected_at timestamp NOT NULL,
  expires_at timestamp NOT NULL,
  CONSTRAINT oban_leaders_pkey PRIMARY KEY (name)
)""",
    """
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}oban_producers (
  uuid uuid NOT NULL,
  name text NOT NULL DEFAULT 'oban',
  node text NOT NULL,
  queue text NOT NULL,
  meta jsonb NOT NULL DEFAULT '{{}}',
  started_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  CONSTRAINT oban_producers_pkey PRIMARY KEY (uuid)
)""",
    """
CREATE TABLE IF NOT EXISTS {schema}oban_crons (
  name text NOT NULL,
  expression text NOT NULL,
  timezone text NOT NULL DEFAULT 'UTC',
  spec jsonb NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  catch_up boolean NOT NULL DEFAULT false,
  last_tick timestamp,
  since timestamp NOT NULL DEFAULT timezone('UTC', now()),
  declared_at timestamp,
  CONSTRAINT oban_crons_pkey PRIMARY KEY (name)
)""",
    """
CREATE TABLE IF NOT EXISTS {schema}oban_queues (
  name text NOT NULL,
  queue text NOT NULL,
  node text NOT NULL DEFAULT '',
  started boolean,
  paused boolean,
  local_limit integer,
  updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  CONSTRAINT oban_queues_pkey PRIMARY KEY (name, queue, node)
)""",
    """
CREATE TABLE IF NOT EXISTS {schema}oban_schema (
  version smallint NOT NULL,
  migrated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  CONSTRAINT oban_schema_pkey PRIMARY KEY (version)
)""",
    # Indexes of oban-py that the partial ones below replace for every statement of ours and of oban-py: the large one,
    # the one that costs each ack an entry in a GIN index, and one of the same name without the queue.
    "DROP INDEX IF EXISTS {schema}oban_jobs_state_queue_priority_scheduled_at_id_index",
    "DROP INDEX IF EXISTS {schema}oban_jobs_meta_index",
    """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_index
              WHERE indexrelid = to_regclass('{schema}oban_jobs_staging_index') AND indnatts = 2) THEN
    DROP INDEX {schema}oban_jobs_staging_index;
  END IF;
END $$""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_fetch_index ON {schema}oban_jobs (queue, priority, scheduled_at, id)
 WHERE state = 'available'""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_staging_index ON {schema}oban_jobs (scheduled_at, id) INCLUDE (queue)
 WHERE state IN ('scheduled', 'retryable')""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_executing_index ON {schema}oban_jobs (id) INCLUDE (queue)
 WHERE state = 'executing'""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_exhausted_index ON {schema}oban_jobs (id)
 WHERE state = 'available' AND attempt >= max_attempts""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_completed_at_index ON {schema}oban_jobs (completed_at)
 WHERE state = 'completed'""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_cancelled_at_index ON {schema}oban_jobs (cancelled_at)
 WHERE state = 'cancelled'""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_discarded_at_index ON {schema}oban_jobs (discarded_at)
 WHERE state = 'discarded'""",
    # For the pruner, which keeps the jobs of a flow or a batch until all of them have finished. The states are the old
    # ones, because `suspended` may have been added to the type in this transaction.
    """
CREATE INDEX IF NOT EXISTS oban_jobs_open_workflow_index ON {schema}oban_jobs (workflow_id)
 WHERE workflow_id IS NOT NULL AND state NOT IN ('completed', 'cancelled', 'discarded')""",
    """
CREATE INDEX IF NOT EXISTS oban_jobs_open_batch_index ON {schema}oban_jobs (batch_id)
 WHERE batch_id IS NOT NULL AND state NOT IN ('completed', 'cancelled', 'discarded')""",
    """
CREATE UNIQUE INDEX IF NOT EXISTS oban_jobs_unique_index ON {schema}oban_jobs (uniq_key)
 WHERE uniq_key IS NOT NULL""",
    # The key of a unique job is given up for good when the job leaves the states in which it counts, whoever writes.
    """
CREATE OR REPLACE FUNCTION {schema}oban_release_unique() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.uniq_key := NULL;
  RETURN NEW;
END $$""",
    # The state is compared as text: a value that was added to the type in the same transaction can't be used yet.
    """
CREATE OR REPLACE TRIGGER oban_jobs_release_unique BEFORE UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN (OLD.uniq_key IS NOT NULL AND NEW.uniq_mask & CASE NEW.state::text
   WHEN 'available' THEN 1 WHEN 'scheduled' THEN 2 WHEN 'suspended' THEN 4 WHEN 'executing' THEN 8
   WHEN 'retryable' THEN 16 WHEN 'completed' THEN 32 WHEN 'discarded' THEN 64 WHEN 'cancelled' THEN 128
   ELSE 0 END = 0)
 EXECUTE FUNCTION {schema}oban_release_unique()""",
    # Dashboards of the Oban family ask for it.
    """
CREATE OR REPLACE FUNCTION {schema}oban_count_estimate(state text, queue text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT JSON) SELECT id FROM {schema}oban_jobs
            WHERE state = $1::{schema}oban_job_state AND queue = $2' INTO plan USING state, queue;
  RETURN plan->0->'Plan'->'Plan Rows';
END $$""",
)

DOWN = (
    "DROP FUNCTION IF EXISTS {schema}oban_count_estimate(text, text)",
    "DROP TABLE IF EXISTS {schema}oban_schema, {schema}oban_crons, {schema}oban_producers, {schema}oban_leaders",
    "DROP TABLE IF EXISTS {schema}oban_queues, {schema}oban_jobs",
    "DROP FUNCTION IF EXISTS {schema}oban_release_unique()",
    "DROP TYPE IF EXISTS {schema}oban_job_state",
)
