"""Names of workers: one function a name, the same wherever it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oban_sqla import UnknownWorker, WorkerConflict, job, worker
from oban_sqla.workers.registry import workers


def define(name: str = "send", module: str = "app.mail", **options: object) -> None:
    """Run a module that defines a worker."""
    source = f"def {name}(user_id: int) -> None: ...\ndecorated = job(**options)({name})\n"
    exec(source, {"__name__": module, "job": job, "options": options})


@pytest.fixture(autouse=True)
def _forget_workers() -> object:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def test_name_is_module_and_qualname() -> None:
    @job
    def local() -> None: ...

    assert local.worker_name == f"{__name__}.test_name_is_module_and_qualname.local"
    assert workers[local.worker_name] is local.worker


def test_same_function_again_is_silent_and_replaces_itself() -> None:
    define()
    first = workers["app.mail.send"]
    define(queue="mail")
    assert workers["app.mail.send"] is not first
    assert workers["app.mail.send"].spec_defaults == {"queue": "mail"}


def test_another_function_under_the_name_is_an_error() -> None:
    define(name="send")
    with pytest.raises(
        WorkerConflict, match=r"two workers named 'app\.mail\.send': app\.mail\.send and app\.sms\.send;.*name="
    ):
        define(name="send", module="app.sms", aliases=["app.mail.send"])
    with pytest.raises(WorkerConflict, match=r"two workers named 'app\.mail\.send'"):

        @worker(name="app.mail.send")
        class Send:
            def process(self, job: object) -> None: ...


def test_refused_worker_takes_no_name() -> None:
    define(name="send")
    with pytest.raises(WorkerConflict):
        define(name="other", aliases=["app.mail.send", "app.mail.old"])
    assert workers.get("app.mail.other") is None
    assert workers.get("app.mail.old") is None


def test_aliases_run_jobs_of_old_names() -> None:
    define(aliases=["app.mail.deliver", "app.post.send"])
    assert workers["app.mail.deliver"] is workers["app.post.send"] is workers["app.mail.send"]
    define(aliases=["app.mail.deliver", "app.post.send"])


def test_worker_with_aliases_is_listed_once_as_it_was_last_defined() -> None:
    define(aliases=["old_send", "zz"])
    define(queue="mail", aliases=["old_send"])
    mine = [one for one in workers.distinct() if one.origin == "app.mail.send"]
    assert [(one.name, one.queue) for one in mine] == [("app.mail.send", "mail")]


def test_unknown_name_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        UnknownWorker, match=r"no worker named 'app\.gone' .*import the module that defines it"
    ) as error:
        workers["app.gone"]
    assert isinstance(error.value, LookupError)
    assert workers.get("app.gone") is None


def test_registrations_are_counted() -> None:
    before = workers.version
    define()
    assert workers.version == before + 1


MODULE = """
from oban_sqla import job
from oban_sqla.workers.registry import workers

@job(queue="mail")
def send() -> None: ...

if __name__ == "__main__":
    import shop.tasks  # what a server does that is told "shop.tasks:app"

    print(send.worker_name, list(workers))
"""
SPAWNING = """
import multiprocessing
from oban_sqla import job
from oban_sqla.workers.registry import workers

@job
def send() -> None: ...

def tell() -> None:
    print(__name__, list(workers))

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=tell)
    child.start()
    child.join()
"""


def run(directory: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(directory), str(Path(__file__).parents[2])])
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(MODULE)
    (package / "__main__.py").write_text(MODULE.replace("import shop.tasks", "pass"))
    (package / "spawning.py").write_text(SPAWNING)
    return tmp_path


def test_module_that_is_run_has_its_real_name_also_when_it_is_imported_too(shop: Path) -> None:
    assert run(shop, "-m", "shop.tasks") == "shop.tasks.send ['shop.tasks.send']"


def test_package_that_is_run_has_its_name(shop: Path) -> None:
    assert run(shop, "-m", "shop") == "shop.send ['shop.send']"


def test_script_has_the_name_of_its_file(shop: Path) -> None:
    script = shop / "script.py"
    script.write_text(MODULE.replace("import shop.tasks", "import script"))
    assert run(shop, "script.py") == "script.send ['script.send']"


@pytest.mark.parametrize("how", [("-m", "shop.spawning"), ("shop/spawning.py",)])
def test_spawned_child_knows_the_same_name(shop: Path, how: tuple[str, ...]) -> None:
    name = "shop.spawning.send" if how[0] == "-m" else "spawning.send"
    assert run(shop, *how) == f"__mp_main__ ['{name}']"


def test_interactive_session_wants_a_name(shop: Path) -> None:
    code = "from oban_sqla import job\ndef f() -> None: ...\n"
    code += (
        "try:\n  job(f)\nexcept Exception as error:\n  print(error)\nassert job(name='mine')(f).worker_name == 'mine'"
    )
    assert run(shop, "-c", code) == (
        "this worker has no module to be named by (an interactive session?); give it a name="
    )
