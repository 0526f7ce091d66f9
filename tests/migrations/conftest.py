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


@pytest.fixture
def project(tmp_path: Path) -> Project:
    revisions = tmp_path / "revisions"
    (revisions / "versions").mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text(INI)
    (revisions / "env.py").write_text(ENV)
    (revisions / "script.py.mako").write_text("")
    (revisions / "versions" / "a_users.py").write_text(USERS)
    (revisions / "versions" / "b_jobs.py").write_text(JOBS)
    return Project(tmp_path)
