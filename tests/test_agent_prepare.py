"""`adi prepare` and runs that use it: a repository's checks fail before and pass after, offline."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pexpect
import pytest

from agent.environment import DependenciesMissing, image_of, modules
from agent.loop import gather
from agent.session import docker_sandboxes
from agent.settings import Settings, directories, load
from feedback.checks import check_of, run_check
from memory.records import Check, CheckResult, Noted
from memory.store import Store
from sandbox.client import connect
from sandbox.images import recipe
from sandbox.prepared import REPOSITORY, every, prune, remove
from sandbox.workcopy import WorkCopy, snapshot
from tests.adi_kit import ADI, FILES, adi, mends, newest
from tests.agent_kit import Script, open_run, payloads
from tests.index_kit import Index, serve_index, wheel
from tests.openai_server import serve

container = pytest.mark.container
RepoFactory = Callable[[Mapping[str, str | bytes]], Path]

PACKAGES = {
    "adi_greeter-1.0-py3-none-any.whl": wheel(
        "adi_greeter", {"adi_greeter/__init__.py": "from adi_deep import WORD\n"}, requires=("adi-deep>=1",)
    ),
    "adi_deep-1.2-py3-none-any.whl": wheel("adi_deep", {"adi_deep.py": "WORD = 'hello'\n"}, version="1.2"),
}
REPO = {
    "requirements.txt": "adi-greeter>=1\n",
    "words.py": "import adi_greeter\n\n\ndef word():\n    return adi_greeter.WORD\n",
    "test_words.py": "from words import word\n\n\ndef test_word():\n    assert word() == 'hello'\n",
}
TASK = {
    **FILES,
    "requirements.txt": "adi-greeter>=1\n",
    "test_calc.py": f"import adi_greeter\n{FILES['test_calc.py']}",
}


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index on loopback, allowed by the user's setting; images that were filled from it are removed."""
    with serve_index(PACKAGES) as made:
        monkeypatch.setenv("ADI_SANDBOX__REGISTRIES", json.dumps(made.registries))
        yield made
        with connect() as client:
            for tag in filter(None, made.tags):
                remove(client, tag)


def prepare(index: Index, repo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = adi(repo, "prepare", *arguments)
    index.tags.append(done.stdout.strip())
    return done


def files_of(repo: Path) -> WorkCopy:
    return WorkCopy(snapshot(repo, directories().shadow))


def check(repo: Path, command: str) -> CheckResult:
    """The check as a run does it: in the image that a run would take."""
    make = docker_sandboxes(load(repo).settings, lambda _: None, "python")
    sandbox = make(files_of(repo), f"check-{repo.parent.name}")
    try:
        return run_check(check_of(command), sandbox, 60)
    finally:
        sandbox.close()


@container
def test_the_checks_fail_before_and_pass_offline_after(make_repo: RepoFactory, index: Index) -> None:
    repo = make_repo(REPO)
    before = check(repo, "python3 -m pytest -q")
    assert not before.passed
    assert "adi_greeter" in set(modules([before]))

    done = prepare(index, repo, "--yes")
    assert done.returncode == 0, done.stderr
    assert "adi-greeter >=1" in done.stderr
    assert f"reached 127.0.0.1:{index.port}" in done.stderr
    index.files.clear()
    for command in (
        "python3 -m pytest -q",
        "pytest -q",
        "env python test_words.py && python3-coverage run -m pytest",
    ):
        after = check(repo, command)
        assert after.passed, after.output
        assert after.tests_passed == 1


@pytest.mark.slow
@container
def test_a_second_time_nothing_is_fetched_and_a_changed_file_is_another_environment(
    make_repo: RepoFactory, index: Index
) -> None:
    repo = make_repo(REPO)
    first = prepare(index, repo, "--yes")
    assert first.returncode == 0, first.stderr
    tag, asked, began = first.stdout.strip(), len(index.asked), time.monotonic()
    second = prepare(index, repo)
    assert time.monotonic() - began < 5.0
    assert (second.returncode, second.stdout.strip()) == (0, tag)
    assert "Prepared already" in second.stderr
    assert len(index.asked) == asked

    settings = load(repo).settings
    assert image_of(settings, files_of(repo), "python") == tag
    (repo / "words.py").write_text("import adi_deep\n")
    assert image_of(settings, files_of(repo), "python") == tag
    own = Settings.model_validate({"sandbox": {"image": "mine:1"}})
    assert image_of(own, files_of(repo), "python") == "mine:1"
    (repo / "requirements.txt").write_text("adi-greeter>=1\nadi-deep\n")
    assert image_of(settings, files_of(repo), "python") == recipe("python").tag

    assert tag.startswith(f"{REPOSITORY}:")
    assert tag in adi(repo, "prepare", "--list").stdout
    assert adi(repo, "prepare", "--remove", "no-such").returncode == 2
    with connect() as client:
        (own,) = [one for one in every(client) if one.tag == tag]
        assert prune(client, 1, own.home) == []
        assert prune(client, 0, "another home") == []
        assert prune(client, 0, own.home) == [tag]
    tag = prepare(index, repo, "--yes").stdout.strip()
    assert adi(repo, "prepare", "--remove", tag).returncode == 0
    with connect() as client:
        assert tag not in {one.tag for one in every(client)}


@pytest.mark.slow
@container
def test_a_project_is_installed_itself_with_nothing_to_reach(make_repo: RepoFactory, index: Index) -> None:
    """Its package is found below src/, and its own metadata too; its setup.py never sees the open gate."""
    setup = (
        "import os\n"
        "open('/deps/told', 'w').write(str([os.path.exists('/gate/proxy.sock'), os.path.exists('.env'),\n"
        "    'HTTPS_PROXY' in os.environ]))\n"
        "from setuptools import setup\nsetup(name='adi-words', version='3.1', package_dir={'': 'src'},\n"
        "    packages=['adi_words'], install_requires=['adi-deep'])\n"
    )
    test = (
        "from importlib.metadata import version\nfrom adi_words import WORD\n\n\n"
        "def test_it():\n    assert (version('adi-words'), WORD) == ('3.1', 'hello')\n"
    )
    package = {"setup.py": setup, "src/adi_words/__init__.py": "from adi_deep import WORD\n"}
    repo = make_repo({**package, "tests/test_it.py": test, ".env": "TOKEN=canary\n"})
    done = prepare(index, repo, "--yes")
    assert done.returncode == 0, done.stderr
    result = check(repo, "python3 -m pytest -q tests")
    assert result.passed, result.output + done.stderr
    assert "[False, True, False]" in check(repo, "cat /deps/told; exit 1").output


@container
def test_a_terminal_is_asked_and_only_yes_installs(make_repo: RepoFactory, index: Index) -> None:
    repo = make_repo(REPO)
    for answer, code in (("n", 3), ("", 3), ("y", 0)):
        child = pexpect.spawn(ADI[0], [*ADI[1:], "prepare"], cwd=str(repo), encoding="utf-8", timeout=60)
        child.expect("adi-greeter >=1")
        child.expect(f"hosts: 127.0.0.1:{index.port}")
        child.expect("Install these packages.*> ")
        assert index.asked == []
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code, child.before
    assert index.asked[0] == "/simple/adi-greeter/"
    index.tags.append(image_of(load(repo).settings, files_of(repo), "python"))
    assert index.tags[0].startswith(f"{REPOSITORY}:")


@container
def test_a_headless_run_without_the_packages_ends_with_the_hint(
    make_repo: RepoFactory, index: Index, adi_home: Path
) -> None:
    """No model could mend that: exit 6 before one is asked; nothing is fetched without a yes."""
    repo = make_repo(TASK)
    with serve(mends()) as url:
        done = adi(repo, "run", "make the test pass", "--yes", "--url", url)
    assert done.returncode == 6, done.stderr
    assert "the checks need adi_greeter: the repository asks for it" in done.stderr
    assert "hint: see what would be installed, and allow it: adi prepare" in done.stderr
    assert newest(adi_home).stop == "environment"
    assert index.asked == []


@container
def test_a_run_at_a_terminal_offers_to_install_and_goes_on(
    make_repo: RepoFactory, index: Index, adi_home: Path
) -> None:
    repo = make_repo(TASK)
    with serve(mends()) as url:
        arguments = ["run", "make the test pass", "--url", url, "--no-plan-review", "--color", "never"]
        child = pexpect.spawn(ADI[0], [*ADI[1:], *arguments], cwd=str(repo), encoding="utf-8", timeout=90)
        child.expect("the checks need adi_greeter")
        child.expect("Install these packages.*> ")
        child.sendline("y")
        child.expect("Apply this change.*> ")
        child.sendline("y")
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0, child.before
    assert "a + b" in (repo / "calc.py").read_text()
    with Store.open(adi_home / "adi.db") as store:
        image = store.trajectory(store.runs()[0].id).task.image
    index.tags.append(image)
    assert image.startswith(f"{REPOSITORY}:")


@pytest.mark.parametrize(
    ("module", "asked", "ends"),
    [
        ("adi_absent", "Adi.Absent>=6\n", True),
        ("cv2.absent", "opencv_python\n", True),
        ("adi_other", "adi-absent>=6\n", False),
        ("adi_absent", "# none\n", False),
    ],
)
def test_only_a_package_that_the_repository_asks_for_ends_a_run(
    make_repo: RepoFactory, module: str, asked: str, ends: bool
) -> None:
    """A module that nobody mentions may be the very one that the task wants written."""
    told = f"raise ModuleNotFoundError(\"No module named '{module}'\")\n"
    repo = make_repo({"requirements.txt": asked, "test_a.py": told})
    with open_run(repo, Script(), checks=[check_of("python3 -m unittest test_a")]) as run:
        run.task = run.task.model_copy(update={"image": recipe("python").tag})
        if not ends:
            gather(run)
            hinted = any("adi prepare" in note.hint for note in payloads(run, Noted))
            assert hinted == asked.startswith("adi")
            return
        with pytest.raises(DependenciesMissing, match=module.partition(".")[0]) as caught:
            gather(run)
    assert caught.value.exit_code == 6
    assert "adi prepare" in caught.value.hint


def test_a_run_goes_on_where_the_tasks_examples_need_no_package(make_repo: RepoFactory) -> None:
    told = "raise ModuleNotFoundError(\"No module named 'adi_greeter'\")\n"
    repo = make_repo({"requirements.txt": "adi-greeter>=1\n", "test_a.py": told})
    shown = Check(name="examples", command="echo no; false", origin="examples")
    with open_run(repo, Script(), checks=[check_of("python3 -m unittest test_a"), shown]) as run:
        run.task = run.task.model_copy(update={"image": recipe("python").tag})
        gather(run)
        assert [result.check for result in run.goals] == ["examples"]
        assert any("adi_greeter" in note.text and "adi prepare" in note.hint for note in payloads(run, Noted))


@container
@pytest.mark.parametrize(
    ("files", "says", "code"),
    [
        ({"a.py": "", "test_a.py": "def test_a(): pass\n"}, "nothing to prepare", 0),
        ({"package.json": '{"dependencies": {"a": "git+https://x/y"}}'}, "addresses, git and paths", 2),
    ],
)
def test_what_cannot_or_need_not_be_prepared(
    make_repo: RepoFactory, files: dict[str, str], says: str, code: int
) -> None:
    done = adi(make_repo(files), "prepare", "--yes")
    assert says in done.stderr, done.stderr
    assert done.returncode == code


@container
@pytest.mark.network
@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"requirements.txt": "iniconfig==2.0.0\n"}, "python3 -m pytest"),
        pytest.param(
            {"package.json": '{"dependencies": {"left-pad": "1.3.0"}}'},
            "npm test",
            marks=[pytest.mark.languages, pytest.mark.slow],
        ),
    ],
)
def test_the_public_indexes_answer(make_repo: RepoFactory, files: dict[str, str], command: str) -> None:
    """Names, certificates, redirects and file hosts of the real indexes, through the real proxy."""
    done = adi(make_repo(files), "prepare", "--yes", ADI_RUN__CHECKS=json.dumps([command]))
    with connect() as client:
        remove(client, done.stdout.strip() or f"{REPOSITORY}:none")
    if any(sign in done.stderr for sign in ("does not resolve", "does not answer")):
        pytest.skip(f"the public index is not reachable: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    assert "REFUSED" not in done.stderr
