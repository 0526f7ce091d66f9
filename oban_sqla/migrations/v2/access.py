"""The rights of roles on the tables of this version."""

from ..access import same_rights

PART = same_rights(("oban_partitions", "oban_rates"))
