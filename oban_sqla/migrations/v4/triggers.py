"""Three triggers for changes of a state instead of six: one for unique jobs, one before and one after the change.

A statement that changes states parses and plans the condition of each trigger again, however many rows it changes, and
the long conditions of versions 1 to 3 took a tenth of the time of a fetch or an ack. Here a condition asks only what
tells a plain job from others, and the rest is asked in the function, which a plain job never reaches. What happens to
each job is what it was.

Neither of the two for composed jobs is called when a job is fetched, nor when one without references is released, which
happens to thousands at once. What has finished comes after `retryable` in the type, in whichever version of Oban it was
made; to compare with `suspended` is not possible, because a migration may add it in the same transaction.
"""

from .. import v1
from ..part import Part, filled
from ..v3 import chains, flows, news, steps

WAITING = "('available', 'scheduled', 'retryable')"

# The key is given up when the job leaves the states in which it counts.
RELEASE_KEY = """
CREATE OR REPLACE FUNCTION {schema}oban_release_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.uniq_mask & (CASE NEW.state::text
      WHEN 'available' THEN 1 WHEN 'scheduled' THEN 2 WHEN 'suspended' THEN 4 WHEN 'executing' THEN 8
      WHEN 'retryable' THEN 16 WHEN 'completed' THEN 32 WHEN 'discarded' THEN 64 WHEN 'cancelled' THEN 128
      ELSE 0 END) = 0 THEN
    NEW.uniq_key := NULL;
  END IF;
  RETURN NEW;
END $$"""

UNIQUE = """
CREATE OR REPLACE TRIGGER oban_jobs_release_unique BEFORE UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN (OLD.uniq_key IS NOT NULL)
 EXECUTE FUNCTION {schema}oban_release_key()"""

# A job of a workflow or chain that was suspended or has finished, and that some program lets go:
# 1. one of a workflow that was cancelled while it waited waits again for the jobs before it that have not ended;
# 2. one of a chain waits for its turn, which only the releaser gives;
# 3. else the results that it uses are put into its arguments. A value that can't be put there leaves them as they are,
#    and the run of the job says so: one row must not make a statement about many raise.
LET_GO = """
CREATE OR REPLACE FUNCTION {schema}oban_let_go() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  edge record;  pair record;  kept jsonb;  made jsonb;
BEGIN
  IF NEW.state::text NOT IN <waiting> OR OLD.state::text IN <waiting> THEN
    RETURN NEW;
  END IF;
  IF NEW.workflow_id IS NOT NULL AND OLD.state::text IN ('cancelled', 'discarded')
      AND EXISTS (SELECT FROM {schema}oban_deps d WHERE d.job_id = NEW.id AND d.met = 'o') THEN
    NEW.state := 'suspended';
    INSERT INTO {schema}oban_news (job_id, workflow_id, state) VALUES (NEW.id, NEW.workflow_id, 'check');
    RETURN NEW;
  END IF;
  IF OLD.chain_key IS NOT NULL AND OLD.state::text <> 'suspended' THEN
    NEW.state := 'suspended';
    RETURN NEW;
  END IF;
  IF OLD.chain_key IS NOT NULL AND current_setting('oban_sqla.promotes', true) IS DISTINCT FROM 'on' THEN
    INSERT INTO {schema}oban_news (job_id, chain_key, state) VALUES (OLD.id, OLD.chain_key, 'check');
    NEW.state := 'suspended';
    RETURN NEW;
  END IF;
  IF NEW.workflow_id IS NULL OR NEW.remaining IS NULL OR NEW.remaining <= 0 OR OLD.state::text = 'completed' THEN
    RETURN NEW;
  END IF;
  made := NEW.args;
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
  EXCEPTION WHEN data_exception OR program_limit_exceeded OR array_subscript_error THEN
    RETURN NEW;
  END;
  IF made IS DISTINCT FROM NEW.args THEN
    NEW.args := made;
    IF NEW.partition_key IS NOT NULL THEN
      NEW.partition_key := '?';
    END IF;
  END IF;
  RETURN NEW;
END $$"""

LETTING_GO = """
CREATE OR REPLACE TRIGGER oban_jobs_let_go BEFORE UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN (OLD.state <> 'executing' AND NEW.state <> 'executing' AND (NEW.remaining IS NOT NULL OR OLD.chain_key IS NOT NULL
   OR NEW.workflow_id IS NOT NULL AND OLD.state > 'retryable'))
 EXECUTE FUNCTION {schema}oban_let_go()"""

# What a job that waits for a signal tells when it goes to sleep is told here, too.
TELL = """
CREATE OR REPLACE FUNCTION {schema}oban_tell_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF NEW.state::text = 'scheduled' AND OLD.state::text = 'executing' AND NEW.meta ->> 'waiting' IS NOT NULL THEN
    INSERT INTO {schema}oban_news (job_id, signal, state) VALUES (NEW.id, NEW.meta ->> 'waiting', 'waits');
  END IF;
  IF NEW.state = OLD.state OR NOT (
      NEW.state::text IN ('completed', 'cancelled', 'discarded', 'retryable') OR OLD.state::text IN <finished>) THEN
    RETURN NULL;
  END IF;
  IF NEW.workflow_id IS NOT NULL AND NEW.state::text <> 'retryable' THEN
    INSERT INTO {schema}oban_news (job_id, workflow_id, state) VALUES (NEW.id, NEW.workflow_id, NEW.state::text);
  END IF;
  IF NEW.batch_id IS NOT NULL THEN
    INSERT INTO {schema}oban_news (job_id, batch_id, state) VALUES (NEW.id, NEW.batch_id, NEW.state::text);
  END IF;
  IF NEW.chain_key IS NOT NULL THEN
    INSERT INTO {schema}oban_news (job_id, chain_key, state) VALUES (NEW.id, NEW.chain_key, NEW.state::text);
  END IF;
  RETURN NULL;
END $$"""

TELLING = """
CREATE OR REPLACE TRIGGER oban_jobs_tell AFTER UPDATE OF state ON {schema}oban_jobs FOR EACH ROW
 WHEN ((NEW.workflow_id IS NOT NULL OR NEW.batch_id IS NOT NULL OR NEW.chain_key IS NOT NULL)
   AND (NEW.state > 'executing' OR OLD.state > 'retryable') OR NEW.meta ? 'waiting')
 EXECUTE FUNCTION {schema}oban_tell_state()"""

MADE = ("oban_let_go", "oban_release_key", "oban_tell_state")
"""The functions of the three."""
TRIGGERS = ("oban_jobs_await", "oban_jobs_chain_back", "oban_jobs_fill", "oban_jobs_tell_waiting")
FUNCTIONS = ("oban_await", "oban_chain_back", "oban_fill", "oban_release_unique")
"""The triggers and functions of earlier versions that this one drops."""

_BACK = (
    *(statement for statement in v1.UP if "oban_release_unique()" in statement),
    *(flows.FILL, flows.AGAIN, chains.BACK),
    *(flows.FILLING, flows.AWAITING, chains.GOING_BACK, news.CHANGED, steps.WAITS),
    "DROP TRIGGER IF EXISTS oban_jobs_let_go ON {schema}oban_jobs",
)
_UNLESS_BACK = """IF to_regprocedure('{schema}oban_let_go()') IS NOT NULL THEN
<back>
END IF"""

PART = Part(
    tables=(RELEASE_KEY, filled(LET_GO, waiting=WAITING), filled(TELL, finished=news.FINISHED)),
    locked=(
        UNIQUE,
        LETTING_GO,
        TELLING,
        *(f"DROP TRIGGER IF EXISTS {name} ON {{schema}}oban_jobs" for name in TRIGGERS),
        *(f"DROP FUNCTION IF EXISTS {{schema}}{name}()" for name in FUNCTIONS),
    ),
    down=tuple(f"DROP FUNCTION IF EXISTS {{schema}}{name}()" for name in MADE),
    unlocked=(filled(_UNLESS_BACK, back="\n".join(f"{statement};" for statement in _BACK)),),
)
