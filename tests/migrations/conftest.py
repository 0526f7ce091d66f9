"""An application with a chain of Alembic revisions of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import finished

INI = """
[alembic]
script_location = %(here)s/revisions
path_separator = os
"""
ENV = """
import os
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
import oban_sqla
from oban_sqla import migrations

schema = os.environ.get("JOBS_SCHEMA")
if schema:
    oban_sqla.use_schema(schema)
application = MetaData()
Table("users", application, Column("id", Integer, primary_key=True))
left_out = os.environ.get("LEFT_OUT")
options = {
    "target_metadata": application if left_out else [application, oban_sqla.metadata],
    "include_schemas": bool(schema),
    "compare_type": True,
    "compare_server_default": True,
}
if left_out:
    options["include_object"] = migrations.include_object

url = os.environ["DATABASE_URL"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""
USERS = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "a", None
def upgrade(): op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))
def downgrade(): op.drop_table("users")
"""
JOBS = """
import os
from alembic import op
from oban_sqla import migrations
revision, down_revision = "b", "a"
def upgrade(): migrations.upgrade(op, version=1, schema=os.environ.get("JOBS_SCHEMA"))
def downgrade(): migrations.downgrade(op, version=0, schema=os.environ.get("JOBS_SCHEMA"))
"""
TABLES = """
import os
from alembic import op
from oban_sqla import migrations
revision, down_revision = "c", "b"
def upgrade(): migrations.upgrade(op, version=migrations.CURRENT, schema=os.environ.get("JOBS_SCHEMA"), part="tables")
def downgrade(): migrations.downgrade(op, version=1, schema=os.environ.get("JOBS_SCHEMA"))
"""
INDEXES = """
import os
from alembic import op
from oban_sqla import migrations
revision, down_revision = "d", "c"
def upgrade(): migrations.upgrade(op, version=migrations.CURRENT, schema=os.environ.get("JOBS_SCHEMA"), part="indexes")
def downgrade(): pass
"""
ALL = """
import os
from alembic import op
from oban_sqla import migrations
revision, down_revision = "b", "a"
def upgrade(): migrations.upgrade(op, schema=os.environ.get("JOBS_SCHEMA"))
def downgrade(): migrations.downgrade(op, version=0, schema=os.environ.get("JOBS_SCHEMA"))
"""
CHAINS = {"one revision": {"b_jobs.py": ALL}, "halves": {"b_jobs.py": JOBS, "c.py": TABLES, "d.py": INDEXES}}


@dataclass
class Project:
    """A directory in which the `alembic` command works."""

    directory: Path
    schema: str | None = None

    def alembic(self, url: str, *arguments: str, left_out: bool = False) -> str:
        """What the command prints; fails with all of it when the command does."""
        environment = {"DATABASE_URL": url}
        if self.schema:
            environment["JOBS_SCHEMA"] = self.schema
        if left_out:
            environment["LEFT_OUT"] = "1"
        ran = finished(["-m", "alembic", *arguments], self.directory, environment)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture(params=[*CHAINS.values()], ids=[*CHAINS])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A chain that reaches the newest version in one revision, or half by half."""
    return made(tmp_path, request.param)


@pytest.fixture
def halves(tmp_path: Path) -> Project:
    """A chain with a revision for version 1, and two for the newest."""
    return made(tmp_path, CHAINS["halves"])


@pytest.fixture
def one_revision(tmp_path: Path) -> Project:
    """A chain with one revision, which calls for the newest version."""
    return made(tmp_path, CHAINS["one revision"])


def made(directory: Path, jobs: dict[str, str]) -> Project:
    revisions = directory / "revisions"
    (revisions / "versions").mkdir(parents=True)
    files = {"../../alembic.ini": INI, "../env.py": ENV, "../script.py.mako": "", "a_users.py": USERS, **jobs}
    for name, content in files.items():
        (revisions / "versions" / name).write_text(content)
    return Project(directory)
