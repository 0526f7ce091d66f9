"""The rights of roles on the tables of this version."""

from ..access import same_rights

PART = same_rights(
    (
        "oban_audit",
        "oban_batches",
        "oban_deps",
        "oban_depths",
        "oban_events",
        "oban_metrics",
        "oban_news",
        "oban_progress",
        "oban_signals",
        "oban_steps",
        "oban_workflows",
    )
)
