"""Columns and indexes of ``oban_jobs`` that several features share.

The columns are null in a job that uses none of them, and the indexes are partial, so such a job has no entry in them.
Together they cost the plain hot path no WAL and no time that could be measured.
"""

from ..part import Part

# `suspended` may have been added to the type in this very transaction, where a value can't be used yet. The planner
# knows that `state = 'suspended'` implies this.
SUSPENDED = "state NOT IN ('available', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled')"

INDEXES = {
    "oban_jobs_workflow_index": "(workflow_id) WHERE workflow_id IS NOT NULL",
    "oban_jobs_batch_index": "(batch_id) WHERE batch_id IS NOT NULL",
    "oban_jobs_chain_waiting_index": f"(chain_key, id) WHERE chain_key IS NOT NULL AND {SUSPENDED}",
    "oban_jobs_chain_active_index": (
        "(chain_key) WHERE chain_key IS NOT NULL AND state IN ('available', 'scheduled', 'retryable', 'executing')"
    ),
    "oban_jobs_chunk_index": (
        "(queue, chunk_key, priority, scheduled_at, id) WHERE state = 'available' AND chunk_key IS NOT NULL"
    ),
    "oban_jobs_cron_index": "((meta ->> 'cron_name'), id) WHERE meta ? 'cron_name'",
    "oban_jobs_suspended_index": f"(id) WHERE {SUSPENDED}",
}

PART = Part(
    locked=(
        """
ALTER TABLE {schema}oban_jobs
  ADD COLUMN IF NOT EXISTS chunk_key text COLLATE "C",
  ADD COLUMN IF NOT EXISTS node_name text""",
    ),
    indexes=INDEXES,
    unlocked=(
        *(f"DROP INDEX IF EXISTS {{schema}}{name}" for name in INDEXES),
        "ALTER TABLE IF EXISTS {schema}oban_jobs DROP COLUMN IF EXISTS chunk_key, DROP COLUMN IF EXISTS node_name",
    ),
)
