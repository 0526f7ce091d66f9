"""News: what happened to jobs of flows, batches and chains, written where it happens and acted on later.

A row trigger notes it in the transaction of the writer, be it an ack, another program or plain SQL; it locks
nothing. A releaser acts on the news (:mod:`oban_sqla.statements.releases`), so that no ack, and no statement of a user,
ever waits for another job. One row per concern: `workflow_id`, `batch_id`, `chain_key` or `signal` says whose it is.

The functions of triggers run with the rights of their owner: a role that only writes jobs need not know of the news.
"""

from ..part import Part

NEWS = """
CREATE TABLE IF NOT EXISTS {schema}oban_news (
  id bigint GENERATED ALWAYS AS IDENTITY,
  job_id bigint,
  workflow_id bigint,
  batch_id bigint,
  chain_key text COLLATE "C",
  signal text COLLATE "C",
  state text NOT NULL,
  CONSTRAINT oban_news_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 1)"""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS oban_news_workflow_index ON {schema}oban_news (workflow_id, id)"
    " WHERE workflow_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_news_batch_index ON {schema}oban_news (batch_id, id) WHERE batch_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_news_chain_index ON {schema}oban_news (chain_key, id) WHERE chain_key IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS oban_news_signal_index ON {schema}oban_news (job_id, id) WHERE signal IS NOT NULL",
)

TELL = """
CREATE OR REPLACE FUNCTION {schema}oban_tell() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.workflow_id IS NOT NULL THEN
      INSERT INTO {schema}oban_news (job_id, workflow_id, state) VALUES (OLD.id, OLD.workflow_id, 'deleted');
    END IF;
    IF OLD.batch_id IS NOT NULL THEN
      INSERT INTO {schema}oban_news (job_id, batch_id, state) VALUES (OLD.id, OLD.batch_id, 'deleted');
    END IF;
    IF OLD.chain_key IS NOT NULL THEN
      INSERT INTO {schema}oban_news (job_id, chain_key, state) VALUES (OLD.id, OLD.chain_key, 'deleted');
    END IF;
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.workflow_id IS NOT NULL AND NEW.state::text <> 'retryable' THEN
    INSERT INTO {schema}oban_news (job_id, workflow_id, state) VALUES (NEW.id, NEW.workflow_id, NEW.state::text);
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.batch_id IS NOT NULL THEN
    INSERT INTO {schema}oban_news (job_id, batch_id, state) VALUES (NEW.id, NEW.batch_id, NEW.state::text);
  END IF;
  IF NEW.chain_key IS NOT NULL THEN
    INSERT INTO {schema}oban_news (job_id, chain_key, state) VALUES (NEW.id, NEW.chain_key, NEW.state::text);
  END IF;
  RETURN NULL;
END $$"""

# States are compared as text: a value that was added to the type in the same transaction can't be used yet.
COMPOSED = "({row}.workflow_id IS NOT NULL OR {row}.batch_id IS NOT NULL OR {row}.chain_key IS NOT NULL)"
FINISHED = "('completed', 'cancelled', 'discarded')"
CHANGED = f"""
CREATE OR REPLACE TRIGGER oban_jobs_tell AFTER UPDATE OF state ON {{schema}}oban_jobs FOR EACH ROW
 WHEN ({COMPOSED.format(row="NEW")} AND NEW.state IS DISTINCT FROM OLD.state
   AND (NEW.state::text IN ('completed', 'cancelled', 'discarded', 'retryable') OR OLD.state::text IN {FINISHED}))
 EXECUTE FUNCTION {{schema}}oban_tell()"""
# What has finished has told of it; else the pruner would write news that nothing takes.
DELETED = f"""
CREATE OR REPLACE TRIGGER oban_jobs_tell_deleted AFTER DELETE ON {{schema}}oban_jobs FOR EACH ROW
 WHEN ({COMPOSED.format(row="OLD")} AND OLD.state::text NOT IN {FINISHED})
 EXECUTE FUNCTION {{schema}}oban_tell()"""
# A job of a chain is inserted suspended, and takes its turn at once where no other has it.
INSERTED = """
CREATE OR REPLACE TRIGGER oban_jobs_tell_inserted AFTER INSERT ON {schema}oban_jobs FOR EACH ROW
 WHEN (NEW.chain_key IS NOT NULL)
 EXECUTE FUNCTION {schema}oban_tell()"""

TRIGGERS = ("oban_jobs_tell", "oban_jobs_tell_deleted", "oban_jobs_tell_inserted")

PART = Part(
    tables=(NEWS, *INDEXES, TELL),
    locked=(CHANGED, DELETED, INSERTED),
    down=(
        "DROP FUNCTION IF EXISTS {schema}oban_tell()",
        "DROP TABLE IF EXISTS {schema}oban_news",
    ),
    unlocked=tuple(f"DROP TRIGGER IF EXISTS {name} ON {{schema}}oban_jobs" for name in TRIGGERS),
)
