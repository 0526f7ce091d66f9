"""The public face, name by name: a change of it is a change of this file.

(After httpx's test of its exported members.)
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from unittest.mock import Mock

import pytest

import oban_sqla
from oban_sqla import errors
from tests.public.modules import MODULES

FACE = {
    "oban_sqla": """
        Backoff Batch Cancel Chain ChildDied Chunk Cron CronEntry Crons DatabaseUnavailable Discard EmbeddedError
        Encryption Fenced
        Finding Health Heartbeat Hook InvalidArgs InvalidOption Job JobCancelled JobDiscarded JobFailed JobLogs JobSpec
        JobState JobTimeout KeyMissing Leader Limiter LogLine Node Nodes NotAWorker NotInJob
        Oban ObanError Partition Prioritize PrioritizePolicy Processes
        Producer Progress Prune PrunePolicy Queue QueueInfo RateLimit Reason Record Resource Result ResultTimeout
        RunningFlow SchemaOutdated SignalTimeout Snooze Unique UnknownWorker UnsupportedDatabase Why WorkerConflict
        Workflow async_url cancelled configure_encryption current_job emit enqueue enqueue_from flow_of injected job
        job_relationship later metadata migrations progress release_slot telemetry use_notify use_schema worker
    """,
    "oban_sqla.doctor": "Finding examine",
    "oban_sqla.dask": "DaskExecutor",
    "oban_sqla.durable": "SignalTimeout sleep step wait_for",
    "oban_sqla.durable.sync": "SignalTimeout sleep step wait_for",
    "oban_sqla.embedded": "EmbeddedError Server start",
    "oban_sqla.executors": "ChildDied Executor perform",
    "oban_sqla.healthcheck": "HealthApp health_app",
    "oban_sqla.migrations": """
        CURRENT Rebuilt downgrade drop_index_jobs include_enum include_object index_jobs migrate reindex
        up_statements upgrade version
    """,
    "oban_sqla.otel": "instrument uninstrument",
    "oban_sqla.prometheus": "Metrics instrument",
    "oban_sqla.telemetry": """
        EVENTS Handler JobFilter attach attach_default_logger basic_logging detach detach_default_logger
    """,
    "oban_sqla.web": "Access Dashboard Operator dashboard",
    "oban_sqla.testing": "all_enqueued assert_enqueued check_queued clock drain mode perform refute_enqueued resources",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_exports_these_names_and_no_others(name: str) -> None:
    assert import_module(name).__all__ == FACE[name].split()


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_name_is_there(name: str) -> None:
    module = import_module(name)
    assert all(hasattr(module, exported) for exported in module.__all__)


def test_the_package_has_no_public_name_that_it_does_not_export() -> None:
    names = {name for name, value in vars(oban_sqla).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert names - {"TYPE_CHECKING", "Any"} <= set(oban_sqla.__all__)


def test_the_version_is_known_and_not_looked_up_by_the_import() -> None:
    code = "import oban_sqla; print('__version__' in vars(oban_sqla), oban_sqla.__version__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert run.stdout.split() == ["False", version("oban-sqla")]


def test_where_the_package_is_not_installed_its_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(oban_sqla.__dict__, "__version__", raising=False)
    monkeypatch.setattr("importlib.metadata.version", Mock(side_effect=PackageNotFoundError("oban-sqla")))
    try:
        assert oban_sqla.__version__ == "unknown"
    finally:
        oban_sqla.__dict__.pop("__version__", None)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'oban_sqla' has no attribute 'Obam'"):
        oban_sqla.Obam  # noqa: B018


def test_import_oban_sqla_is_enough_to_use_its_modules() -> None:
    parts = sorted(name for name in FACE if name.count(".") == 1)
    code = f"import oban_sqla; print(*({', '.join(parts)}), oban_sqla.testing.drain, oban_sqla.embedded.start)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert run.returncode == 0, run.stderr


def test_every_error_is_below_oban_error_exported_and_in_the_drawn_tree() -> None:
    raised = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }
    assert all(issubclass(error, oban_sqla.ObanError) for error in raised.values())
    assert set(raised) <= set(oban_sqla.__all__)
    assert all(f"* {name}" in (errors.__doc__ or "") for name in raised)


def test_the_error_of_the_embedded_server_can_be_caught_as_before() -> None:
    from oban_sqla import embedded

    assert embedded.EmbeddedError is oban_sqla.EmbeddedError
    assert issubclass(embedded.EmbeddedError, oban_sqla.ObanError)
    assert issubclass(embedded.EmbeddedError, RuntimeError)


def test_importing_the_package_imports_no_migration_tool_no_server_and_no_command_line() -> None:
    code = "import sys, oban_sqla; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    packages = {"alembic", "click", "rich", "uvloop", "psycopg", "opentelemetry", "prometheus_client", "pytest"}
    wings = {"cli", "embedded", "testing", "doctor", "healthcheck", "otel", "prometheus"}
    unwanted = packages | {f"oban_sqla.{wing}" for wing in wings}
    assert not unwanted & set(run.stdout.split())
