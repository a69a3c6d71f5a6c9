"""`adi data corpus` as a person uses it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agent.settings import directories
from memory.consent import Consents
from memory.store import Store
from tests.adi_kit import ADI, adi
from tests.conftest import RepoFactory, git

TOTAL = '''"""Adds amounts up."""


def total(amounts: list[float], tax: float = 0.19) -> float:
    """The sum of all amounts, with tax."""
    return sum(amounts) * (1 + tax)
'''
REVERSE = '''"""Turns texts round."""


def reverse(text: str) -> str:
    """The characters of a text, the last one first, joined into a new text."""
    return "".join(reversed(text))
'''
MANIFEST = '[project]\nname = "a"\nversion = "1"\nlicense = "MIT"\n'


@pytest.fixture
def repo(make_repo: RepoFactory) -> Path:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    return make_repo(
        {
            "pyproject.toml": MANIFEST, "src/total.py": TOTAL, "src/total_again.py": TOTAL + "\n\n",
            "lib/reverse.py": REVERSE + f'\n\nTOKEN = "{token}"\n', "package-lock.json": "{}\n",
        }
    )  # fmt: skip


def test_a_corpus_is_written_counted_and_loads(repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    done = adi(repo, "data", "corpus", str(repo), "--to", str(out), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    steps = {step["name"]: step["dropped"] for step in told["steps"]}
    assert steps["quality"] == {"lock file": 1}
    assert steps["exact duplicates"] == {"same text": 1}
    assert told["splits"]["train"] + told["splits"]["validation"] + told["splits"]["test"] == 3
    assert sum(told["redacted"].values()) == 1
    assert told["written"] == str(out)
    assert f"written to {out}" in done.stderr

    from datasets import load_dataset

    parts = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    rows = {row["path"]: row for part in parts.values() for row in part}
    assert set(rows) == {"pyproject.toml", "src/total.py", "lib/reverse.py"}
    assert rows["src/total.py"]["content"] == TOTAL
    assert rows["src/total.py"]["license"] == "MIT"
    assert "ghp_" not in rows["lib/reverse.py"]["content"]
    assert rows["src/total.py"]["commit"] == git(repo, "rev-parse", "HEAD")
    assert repo.name not in {row["repo"] for row in rows.values()}
    assert len({row["repo"] for row in rows.values()}) == 1

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = adi(repo, "data", "corpus", str(repo), "--to", str(out))
    assert again.returncode == 2
    assert "hint: add --force" in again.stderr
    forced = adi(repo, "data", "corpus", str(repo), "--to", str(out), "--force")
    assert forced.returncode == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert "near-duplicates" in forced.stdout
    assert "Python" in adi(repo, "data", "stats", str(out)).stdout


def test_a_preview_writes_nothing(repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    done = adi(repo, "data", "corpus", ".", "--preview", "--to", str(out))
    assert done.returncode == 0
    assert "exact duplicates" in done.stdout
    assert not out.exists()
    assert "written" not in done.stderr


def test_held_out_suites_are_kept_out(repo: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps({"task_id": "t/1", "prompt": "Add.", "canonical_solution": TOTAL}) + "\n")
    done = adi(repo, "data", "corpus", ".", "--preview", "--json", "--held-out", str(suite))
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step["dropped"] for step in json.loads(done.stdout)["steps"]}
    assert steps["held-out suites"] == {"held-out text": 1}


def test_what_its_owner_refused_is_left_out(repo: Path) -> None:
    with Store.open(directories().database) as store:
        Consents(store).opt_out("repository", str(repo))
    done = adi(repo, "data", "corpus", ".", "--preview")
    assert done.returncode == 2
    assert "opted out" in done.stdout
    assert "hint: its owner keeps it out of training" in done.stderr
    with Store.open(directories().database) as store:
        Consents(store).opt_in("repository", str(repo))
        Consents(store).set("repository", str(repo), "refused")
    assert "consent refused" in adi(repo, "data", "corpus", ".", "--preview").stdout


@pytest.mark.slow
def test_a_repository_without_a_licence_says_what_helps(make_repo: RepoFactory) -> None:
    root = make_repo({"a.py": TOTAL})
    done = adi(root, "data", "corpus", ".", "--preview")
    assert done.returncode == 2
    assert "unknown: 1" in done.stdout
    assert "error: no file is left of 1; most went at the step licence" in done.stderr
    assert "--licence MIT" in done.stderr
    assert "MIT (declared)" in adi(root, "data", "corpus", ".", "--preview", "--licence", "MIT").stdout
    with Store.open(directories().database) as store:
        Consents(store).set("repository", str(root), "granted", licence="ISC")
    assert "ISC (declared)" in adi(root, "data", "corpus", ".", "--preview").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "a corpus needs a folder"),
        (["nowhere", "--preview"], "nowhere is no folder"),
        ([".", "--preview", "--licence", "nonsense"], "no licence that SPDX knows"),
        ([".", "--preview", "--family", "gpt-9"], "no family 'gpt-9'"),
        ([".", "--preview", "--family", "none", "--pack", "9"], "has no token between files"),
        ([".", "--preview", "--spans", "words"], "--spans: "),
        ([".", "--preview", "--split-by", "file"], "--split-by: "),
        ([".", "--preview", "--infill", "2"], "infill"),
        ([".", "--preview", "--held-out", "nowhere"], "nowhere"),
        ([".", "--to", "lib"], "lib exists and is no corpus"),
        ([".", "--to", "lib", "--force"], "lib exists and is no corpus"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_hint(repo: Path, arguments: list[str], message: str) -> None:
    done = adi(repo, "data", "corpus", *arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert message in lines[-2]
    assert lines[-1].startswith("hint: ")
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_nothing(repo: Path, tmp_path: Path) -> None:
    """While it reads, with git running and its own git directory in the temporary folder."""
    for number in range(400):
        name = f"value_{number}"
        (repo / f"m{number}.py").write_text(TOTAL.replace("total", name).replace("amounts", f"{name}s"))
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=many")
    work = tmp_path / "work"
    work.mkdir()
    with subprocess.Popen(
        [*ADI, "data", "corpus", str(repo), "--to", str(work / "out")],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(work)},
    ) as child:  # fmt: skip
        assert child.stderr is not None
        assert "of 405 files" in child.stderr.readline()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130, rest
    assert "interrupted" in rest
    assert list(work.iterdir()) == []
