"""What ``oban.toml``, ``pyproject.toml`` and the environment say, which of them counts, and how they are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from oban_sqla import Cron, Heartbeat, Partition, Prioritize, Processes, Prune, Queue, RateLimit, job
from oban_sqla.cli import main
from oban_sqla.cli.settings import SettingsError, config_option, read, settings
from oban_sqla.cli.settings.keys import KEYS
from oban_sqla.cli.start import _options
from oban_sqla.runtime.config import Config
from oban_sqla.workers.registry import workers
from tests.processes import ROOT

ENTRY = "[[crontab]]\nworker = 'a'\nexpression = '@daily'\n"
NOWHERE: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty, with nothing said by the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("OBAN_DATABASE_URL", "DATABASE_URL", "OBAN_SCHEMA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def values(environment: Mapping[str, str] = NOWHERE, config: Path | None = None) -> dict[str, Any]:
    return {name: setting.value for name, setting in read(config, environment).of_runtime().items()}


def refused(text: str, environment: Mapping[str, str] = NOWHERE) -> str:
    Path("oban.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        read(None, environment).of_runtime()
    return error.value.message


def test_the_documented_file_is_what_it_says() -> None:
    @job(name="app.jobs.report")
    async def report(days: int) -> None: ...

    page = (ROOT / "docs/configuration.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    Path("oban.toml").write_text(example)
    found = read(None, NOWHERE)
    try:
        config = Config.checked(**_options(found))
    finally:
        workers.remove(["app.jobs.report"])
    assert found.value("module") == ("app.jobs",)
    assert (found.value("database_url"), found.value("schema")) == ("postgresql://localhost/app", "jobs")
    assert (found.value("log_level"), str(found.value("health"))) == ("info", "127.0.0.1:8080")
    assert config.queues == {
        "default": Queue(10),
        "media": Queue(5, paused=True, prefetch=20),
        "calls": Queue(20, global_limit=50, rate_limit=RateLimit(100, 60.0)),
        "mails": Queue(partition=Partition("args.tenant_id", limit=3, rate_limit=RateLimit(5, 1))),
    }
    assert config.prune == Prune(
        policies=[
            Prune.Policy(state="discarded", max_age=math.inf),
            Prune.Policy(queue=["beat", "media"], max_age=3600, max_count=1000),
        ]
    )
    assert config.prioritize == Prioritize(policies=[Prioritize.Policy(queue="media", after=60)])
    assert found.value("processes") == 4
    assert config.processes == Processes(size=4, max_jobs=1000, max_memory=500_000_000)
    (entry,) = config.crontab
    assert isinstance(entry, Cron)
    assert (entry.key, entry.timezone, entry.catch_up) == ("report of the week", "Europe/Paris", True)
    assert '"queue": "media"' in entry.row()["spec"]
    assert '"args": {"days": 7}' in entry.row()["spec"]
    # The rest is shown with its default, so that it need not be looked up.
    same = {"heartbeat", "notify", "name", "shutdown_grace", "leader_ttl", "lifeline_interval", "poll_interval"}
    assert {name: getattr(config, name) for name in same} == {name: getattr(Config(node="me"), name) for name in same}


def test_every_option_of_the_runtime_can_be_said() -> None:
    not_said = {"sessionmaker", "hooks", "executors", "share", "resources", "encryption", "job_logs"}
    said = {key.option or name for name, key in KEYS.items() if key.of_runtime}
    assert said == set(Config.__slots__) - not_said


def test_nothing_said_is_nothing_set() -> None:
    assert values() == {}
    Path("oban.toml").write_text("")
    assert values() == {}
    Path("oban.toml").write_text("leader_ttl = 20")
    assert values({"OBAN_NODE": "", "OBAN_LEADER_TTL": ""}) == {"leader_ttl": 20}


def test_each_source_overrides_the_one_before_it() -> None:
    Path("pyproject.toml").write_text("[tool.oban_sqla]\nnode = 'of the project'\nname = 'Other'")
    assert values() == {"node": "of the project", "name": "Other"}
    Path("oban.toml").write_text("node = 'of the file'\nshutdown_grace = 1\n[queues]\na = 1\nb = 2")
    assert values() == {"node": "of the file", "shutdown_grace": 1, "queues": {"a": Queue(1), "b": Queue(2)}}
    environment = {"OBAN_NODE": "of the environment", "OBAN_QUEUES": "c=3,d"}
    assert values(environment) == {
        "node": "of the environment",
        "shutdown_grace": 1,
        "queues": {"c": Queue(3), "d": Queue()},
    }


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("OBAN_NAME", "Other", "Other"),
        ("OBAN_NODE", "7", "7"),
        ("OBAN_NOTIFY", "off", "off"),
        ("OBAN_SHUTDOWN_GRACE", "30", 30.0),
        ("OBAN_LEADER_TTL", "1.5", 1.5),
        ("OBAN_LEADERSHIP", "false", False),
        ("OBAN_LIFELINE_INTERVAL", "2", 2.0),
        ("OBAN_POLL_INTERVAL", "0.5", 0.5),
        ("OBAN_START_TIMEOUT", "60", 60.0),
        ("OBAN_LOG_EXCEPTIONS", "false", False),
        ("OBAN_LOG_LEVEL", "debug", "debug"),
        ("OBAN_SCHEMA", "jobs", "jobs"),
        ("OBAN_MODULE", "app.jobs, app.mail", ("app.jobs", "app.mail")),
        ("OBAN_PRUNE", "false", None),
        ("OBAN_PRUNE", "{max_age = 60}", Prune(max_age=60)),
        ("OBAN_PRIORITIZE", "true", Prioritize()),
        ("OBAN_PRIORITIZE", "{after = 60}", Prioritize(after=60)),
        ("OBAN_HEARTBEAT", "{interval = 2}", Heartbeat(interval=2)),
    ],
)
def test_one_value_can_be_set_in_the_environment(variable: str, text: str, value: object) -> None:
    found = read(None, {variable: text}).get(variable.removeprefix("OBAN_").lower())
    assert found is not None
    assert (found.value, found.source) == (value, variable)


def test_tables_may_be_written_as_toml_allows() -> None:
    Path("oban.toml").write_text("prune = false\nqueues.a = 1\nqueues.'b.c'.limit = 2\nmodule = ['a', 'b']")
    assert values() == {"prune": None, "queues": {"a": Queue(1), "b.c": Queue(2)}}
    Path("oban.toml").write_text("prune = true\nheartbeat = {interval = 1}")
    assert values() == {"prune": Prune(), "heartbeat": Heartbeat(interval=1)}


def test_a_pyproject_of_others_says_nothing() -> None:
    Path("pyproject.toml").write_text("[tool.black]\nline-length = 1")
    assert values() == {}
    with pytest.raises(SettingsError, match=r"pyproject.toml: it has no table \[tool.oban_sqla\]"):
        read(Path("pyproject.toml"), NOWHERE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("leader_tll = 5", "oban.toml: leader_tll: unknown; did you mean 'leader_ttl'?"),
        (
            "colour = 'red'",
            "oban.toml: colour: unknown; there are: children, crontab, database_url, health, heartbeat",
        ),
        ("queues.media.limti = 5", "oban.toml: [queues] media.limti: unknown; did you mean 'limit'?"),
        ("queues.media = '5'", "oban.toml: [queues] media: queue 'media': expected a limit of 1 or more, or Queue(…)"),
        ("queues.media.limit = 0", "oban.toml: [queues] media: Queue: limit must be a number of jobs from 1 to 10,000"),
        ("queues.media.paused = 'no'", "oban.toml: [queues] media.paused: expected true or false, got 'no'"),
        ("queues = 10", "oban.toml: queues: expected a table, with entries such as default = 10; got 10"),
        ("leader_ttl = 0", "oban.toml: leader_ttl: leader_ttl must be 0.1 to 3600 seconds, got 0"),
        ("shutdown_grace = '5'", "oban.toml: shutdown_grace: Oban(shutdown_grace): expected seconds (0 or more)"),
        ("notify = 'loud'", 'oban.toml: notify: notify must be "auto", "transaction" or "off", got \'loud\''),
        ("node = ''", "oban.toml: node: node must be a name, got ''"),
        ("schema = 5", "oban.toml: schema: expected a name, got 5"),
        ("log_level = 'loud'", "oban.toml: log_level: expected one of debug, info, warning, error, got 'loud'"),
        ("health = 'here'", "oban.toml: health: 'here': expected a port from 0 to 65,535, got 'here'"),
        (f"health = '{'9' * 5_000}'", "oban.toml: health: '999"),
        ("module = []", "oban.toml: module: expected a module such as 'app.jobs', or a list of them, got []"),
        ("module = ['a', 5]", "oban.toml: module: a module: expected a name, got 5"),
        ("heartbeat.intervall = 5", "oban.toml: [heartbeat] intervall: unknown; did you mean 'interval'?"),
        ("heartbeat.interval = 9", "oban.toml: [heartbeat] Heartbeat: stale_after must be at least twice the interval"),
        ("prune = 'never'", "oban.toml: prune: expected a table, with entries such as max_age = 604800; got 'never'"),
        ("prune.max_age = 'day'", "oban.toml: [prune] Prune(max_age): expected seconds"),
        ("prune.policies = 5", "oban.toml: [prune] policies: expected a list of tables, as [[prune.policies]]"),
        ("prune.policies = [5]", "oban.toml: [[prune.policies]] 1: expected a table, with entries"),
        ("prune.policies = [{queue = 'a'}]", "oban.toml: [[prune.policies]] 1: Prune.Policy: max_age or max_count is"),
        (
            "prune.policies = [{max_age = 1}, {max_agee = 1}]",
            "oban.toml: [[prune.policies]] 2: max_agee: unknown; did you mean 'max_age'?",
        ),
        ("prioritize = 5", "oban.toml: prioritize: expected a table, with entries such as after = 300; got 5"),
        ("prioritize.policies = [{queue = 'a'}]", "oban.toml: [[prioritize.policies]] 1: PrioritizePolicy: after is"),
        ("crontab = 5", "oban.toml: crontab: expected tables [[crontab]], each with an expression and a worker"),
        ("crontab = [5]", "oban.toml: [[crontab]] 1: expected a table with an expression and a worker, got 5"),
        ("[[crontab]]\nworker = 'a'", "oban.toml: [[crontab]] 1: expression is missing"),
        ("[[crontab]]\nexpression = '@daily'", "oban.toml: [[crontab]] 1: worker is missing"),
        ("[[crontab]]\nwroker = 'a'", "oban.toml: [[crontab]] 1: wroker: unknown; did you mean 'worker'?"),
        ("[[crontab]]\nworker = 'a'\nexpression = 'at noon'", "oban.toml: [[crontab]] 1: "),
        (f"{ENTRY}priority = 10", "[[crontab]] 1: priority: expected 0 to 9"),
        (f"{ENTRY}args = [1]", "[[crontab]] 1: args: expected a table"),
        (f"{ENTRY}unique = {{perod = 5}}", "did you mean 'period'?"),
        (f"{ENTRY}unique = {{keys = 5}}", "1: Unique(keys): expected a seq"),
        (f"{ENTRY}unique = 5", "1: unique: expected true, or a table"),
        ("[[crontab]]\nexpression = 5", "oban.toml: [[crontab]] 1: expression: expected text, got 5"),
        (f"{ENTRY}timezone = 5", "oban.toml: [[crontab]] 1: time zone: expected a string, got 5"),
        (f"{ENTRY}name = 5", "[[crontab]] 1: Cron: name must be a string, got 5"),
        (f"{ENTRY}paused = 'no'", "[[crontab]] 1: Cron: paused must be True or False, got 'no'"),
        (f"{ENTRY}queue = 5", "[[crontab]] 1: queue: expected a name, got 5"),
        (f"{ENTRY}tags = 'x'", "[[crontab]] 1: tags: expected a sequence of strings, got 'x'"),
        (f"{ENTRY}meta = 5", "[[crontab]] 1: "),
        (f"{ENTRY}args = {{at = 2026-01-01}}", "[[crontab]] 1: args"),
        (f"{ENTRY}scheduled_at = 2026-01-01T00:00:00Z", "scheduled_at is one instant, but an entry has many"),
        (f"{ENTRY}unique = {{states = 5}}", "[[crontab]] 1: Unique(states): expected some of"),
        (f"{ENTRY}unique = {{fields = [[1]]}}", "[[crontab]] 1: Unique(fields): expected some of"),
        ("node = ", "oban.toml is not valid TOML: "),
    ],
)
def test_what_can_t_be_is_refused_with_its_place(text: str, said: str) -> None:
    message = refused(text)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("OBAN_SHUTDOWN_GRACE", "long", "OBAN_SHUTDOWN_GRACE: expected seconds, such as 15 or 0.5, got 'long'"),
        ("OBAN_LEADER_TTL", "nan", "OBAN_LEADER_TTL: Oban(leader_ttl): expected seconds (0 or more)"),
        ("OBAN_QUEUES", "a=0", "OBAN_QUEUES: queue 'a': expected a limit from 1 to 10,000 jobs, got '0'"),
        ("OBAN_QUEUES", "a=" + "9" * 5_000, "OBAN_QUEUES: queue 'a': expected a limit from 1 to 10,000 jobs, got '99"),
        ("OBAN_NOTIFY", "loud", "OBAN_NOTIFY: notify must be"),
        (
            "OBAN_PRUNE",
            "7d",
            "OBAN_PRUNE: expected true or false, got '7d'; or a table of TOML, such as {interval = 60}",
        ),
        ("OBAN_PRIORITIZE", "{policies = {after = 1}}", "OBAN_PRIORITIZE: policies: expected a list of tables"),
        ("OBAN_HEARTBEAT", "5", "OBAN_HEARTBEAT: '5': expected a table of TOML, such as {interval = 5}"),
        ("OBAN_CHILDREN", "3", "OBAN_CHILDREN: '3': expected a table of TOML, such as {size = 4}"),
        ("OBAN_CRONTAB", "x", "OBAN_CRONTAB: can't be given in the environment; write it into oban.toml"),
        ("OBAN_LOG_EXCEPTIONS", "no", "OBAN_LOG_EXCEPTIONS: expected true or false, got 'no'"),
    ],
)
def test_what_can_t_be_in_the_environment_names_the_variable(variable: str, text: str, said: str) -> None:
    assert refused("", {variable: text}).startswith(said)


def test_a_section_of_pyproject_is_named_in_full() -> None:
    Path("pyproject.toml").write_text("[tool.oban_sqla.queues]\nmedia = {limti = 5}")
    with pytest.raises(SettingsError) as error:
        read(None, NOWHERE)
    assert error.value.message.startswith("pyproject.toml: [tool.oban_sqla.queues] media.limti: unknown")
    Path("pyproject.toml").write_text("[tool.oban-sqla]\nnode = 'a'")
    with pytest.raises(SettingsError, match=r"did you mean \[tool.oban_sqla\]\?"):
        read(None, NOWHERE)
    Path("pyproject.toml").write_text("[tool]\noban_sqla = 5")
    with pytest.raises(SettingsError, match=r"expected a table \[tool.oban_sqla\]"):
        read(None, NOWHERE)


def test_a_binary_file_is_refused_in_one_line() -> None:
    Path("oban.toml").write_bytes(b"node = '\xff'")
    with pytest.raises(SettingsError, match="oban.toml is not valid TOML: 'utf-8' codec"):
        read(None, NOWHERE)


@pytest.mark.parametrize(
    "text",
    [
        "database_url = ['postgresql://u:secret@h/d']",
        "database_url = 'postgresql://u:secret@h:port/d'",
        "databas_url = 'postgresql://u:secret@h/d'",
        "database_url = 'postgresql+psycopg2://u:secret@h/d'",
        "database_url = 'postgresql://u:secret@127.0.0.1:1/d'",
        "database_url = 'postgresql://u:secret@h/d",
        "[database]\nurl = 'postgresql://u:secret@h/d'",
    ],
)
def test_a_password_is_never_shown(text: str) -> None:
    Path("oban.toml").write_text(text)
    result = CliRunner().invoke(main, ["migrate"])
    assert result.exit_code in (1, 2)
    assert result.output.startswith(("Error", "Usage"))
    assert "secret" not in result.output


@click.command()
@config_option
def told() -> None:
    click.echo(settings().value("node"))


def test_a_named_file_has_to_be_there(directory: Path) -> None:
    Path("oban.toml").write_text("node = 'of the directory'")
    Path("other.toml").write_text("node = 'of the other'")
    assert CliRunner().invoke(told).output == "of the directory\n"
    assert CliRunner().invoke(told, ["--config", "other.toml"]).output == "of the other\n"
    missing = CliRunner().invoke(told, ["--config", "none.toml"])
    assert missing.exit_code == 2
    assert "File 'none.toml' does not exist" in missing.output


def test_a_variable_that_is_almost_a_setting_is_named() -> None:
    environment = {"OBAN_QUEUE": "media=5", "OBAN_DATABASEURL": "postgresql://u:secret@h/d", "OBAN_LICENSE_KEY": "7"}
    result = CliRunner().invoke(told, env=environment)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "OBAN_DATABASEURL is not a setting, and is ignored; did you mean OBAN_DATABASE_URL?",
        "OBAN_QUEUE is not a setting, and is ignored; did you mean OBAN_QUEUES?",
    ]


@pytest.mark.parametrize("arguments", [["--config", "other.toml", "sql"], ["sql", "--config", "other.toml"]])
def test_a_file_is_named_before_or_after_the_command(arguments: list[str]) -> None:
    Path("oban.toml").write_text("schema = 'here'")
    Path("other.toml").write_text("schema = 'there'")
    assert "CREATE SCHEMA there" in CliRunner().invoke(main, arguments).output
    assert "CREATE SCHEMA here" in CliRunner().invoke(main, ["sql"]).output


def test_the_schema_and_the_database_of_every_command_come_from_there(directory: Path) -> None:
    Path("oban.toml").write_text("schema = 'of_the_file'\ndatabase_url = 'mysql://h/d'")
    assert "of_the_file.oban_jobs" in CliRunner().invoke(main, ["sql"]).output
    environment = {"OBAN_SCHEMA": "of_the_environment"}
    assert "of_the_environment.oban_jobs" in CliRunner().invoke(main, ["sql"], env=environment).output
    argued = CliRunner().invoke(main, ["sql", "--schema", "argued"], env=environment).output
    assert "argued.oban_jobs" in argued
    assert "of_the_environment" not in argued
    assert "'mysql'" in CliRunner().invoke(main, ["migrate"]).output
    assert "'oracle'" in CliRunner().invoke(main, ["migrate"], env={"DATABASE_URL": "oracle://h/d"}).output


def test_help_does_not_depend_on_a_good_file() -> None:
    Path("oban.toml").write_text("nonsense")
    assert CliRunner().invoke(main, ["migrate", "--help"]).exit_code == 0
    assert CliRunner().invoke(main, ["sql"]).output.startswith("Error: oban.toml is not valid TOML")
