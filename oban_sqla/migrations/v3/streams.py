"""What a job tells while it runs: its progress, its events and its log.

In tables beside the jobs: a change of a job's row while it runs would make its ack wait for the lock, and leave a dead
version of a wide row. There are no foreign keys, for the same reason: they lock the job's row, and make deleting jobs
ten times as expensive. What belongs to a job is deleted by the statement that deletes the job.
"""

from ..part import Part

# Half of a page stays free, so that an update leaves the index alone.
PROGRESS = """
CREATE TABLE IF NOT EXISTS {schema}oban_progress (
  job_id bigint NOT NULL,
  done double precision NOT NULL,
  total double precision,
  at timestamp without time zone NOT NULL DEFAULT timezone('UTC', now()),
  note text,
  CONSTRAINT oban_progress_pkey PRIMARY KEY (job_id)
) WITH (fillfactor = 50)"""

# The numbers are the job's own, from 1 on, for each kind: 0 is an event, 1 a line of the log.
EVENTS = """
CREATE TABLE IF NOT EXISTS {schema}oban_events (
  job_id bigint NOT NULL,
  n bigint NOT NULL,
  at timestamp without time zone NOT NULL DEFAULT timezone('UTC', now()),
  kind smallint NOT NULL DEFAULT 0,
  value jsonb NOT NULL,
  CONSTRAINT oban_events_pkey PRIMARY KEY (job_id, kind, n)
)"""

PART = Part(
    tables=(PROGRESS, EVENTS),
    down=("DROP TABLE IF EXISTS {schema}oban_events", "DROP TABLE IF EXISTS {schema}oban_progress"),
)
