"""The rights of roles on the tables that a version adds.

An upgrade that breaks the programs that enqueue would be found out in production. So every role that may do something
with ``oban_jobs`` may do the same with the new tables: one that only enqueues reads ``oban_partitions`` to find the key
of a job, and a node writes all of them. Roles that come later need their own GRANT.
"""

from __future__ import annotations

from collections.abc import Iterable

from .part import Part


def same_rights(names: Iterable[str]) -> Part:
    """A part that gives each role what it has on ``oban_jobs`` on the tables `names`, too."""
    return Part(
        tables=(
            f"""
DO $$ DECLARE
  given record;
BEGIN
  FOR given IN
    SELECT acl.privilege_type AS privilege, t.name,
           CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS role
      FROM pg_catalog.pg_class c, aclexplode(c.relacl) acl, unnest('{{{{{",".join(names)}}}}}'::text[]) t(name)
     WHERE c.oid = to_regclass('{{schema}}oban_jobs') AND acl.grantee <> c.relowner
       AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  LOOP
    EXECUTE 'GRANT ' || given.privilege || ' ON {{schema}}' || given.name || ' TO ' || given.role;
  END LOOP;
END $$""",
        ),
    )
