"""What `adi backlog` reads of folders and suites: Markdown, SWE-bench, Harbor, and where repositories are."""

import io
import json
import os
from pathlib import Path

import pytest

from agent.backlog_sources import read
from agent.errors import UsageError
from tests.backlog_kit import parted

BENCH = Path(os.environ.get("ADI_BENCH", "/nowhere"))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """What looks like a repository; nothing here runs git."""
    place = tmp_path / "till"
    (place / ".git").mkdir(parents=True)
    return place


def markdown(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def test_markdown_issues_with_and_without_front_matter(tmp_path: Path, repo: Path) -> None:
    folder = tmp_path / "issues"
    front = (
        "---\ntitle: 'No: the total'\nid: totals-1\nrepo: shop/till\nbase: 0123456\nstate: closed\n"
        "checks: [python3 -m pytest -q]\nlabels:\n  - bug\n  - no\nowner: someone\n---\nThe text.\n"
    )
    markdown(folder, {
        "a.md": front,
        "b/heading.md": "intro\n```\n# no heading\n```\n# The heading #\nrest\n",
        "c.md": "Ruled\n=====\nrest",
        "d.md": "only a line\n\nand more",
        "e.md": "---\nchecks: make test\n---\n# E\n",
        "f.md": b"\xff\xfe" + "# Sixteen\nbits".encode("utf-16-le"),
        "g.md": "---\n\n# After a rule\n\n---\n",
        "README.md": "# About this folder",
        "note.txt": "not one",
        ".hidden/x.md": "# not one",
    })  # fmt: skip
    items, bad = parted(read(str(folder), repo=repo))
    assert bad == []
    told = {item.key: (item.title, item.body, item.checks) for item in items}
    assert told == {
        "totals-1": ("No: the total", "The text.", ("python3 -m pytest -q",)),
        "b/heading": ("The heading", "intro\n```\n# no heading\n```\nrest", ()),
        "c": ("Ruled", "rest", ()),
        "d": ("only a line", "only a line\n\nand more", ()),
        "e": ("E", "", ("make test",)),
        "f": ("Sixteen", "bits", ()),
        "g": ("After a rule", "---\n\n\n---", ()),
    }
    first = items[0]
    assert (first.base, first.state, first.labels) == ("0123456", "closed", ("bug", "no"))
    assert [item.title for item in parted(read(str(folder / "c.md"), repo=repo))[0]] == ["Ruled"]


def test_markdown_that_is_broken_or_leads_elsewhere(tmp_path: Path, repo: Path) -> None:
    folder, outside = tmp_path / "issues", tmp_path / "secret.md"
    outside.write_text("# secret")
    markdown(folder, {
        "alias.md": "---\na: &x [1]\nchecks: *x\n---\n# A",
        "base.md": "---\nbase: --upload-pack=x\n---\n# A",
        "empty.md": "\n",
        "good.md": "# Good",
        "large.md": b"x" * (1024 * 1024 + 1),
        "latin.md": "# caf\xe9".encode("latin-1"),
        "state.md": "---\nstate: [1]\n---\n# A",
        "twice.md": "---\ntitle: a\ntitle: b\n---\n",
        "yaml.md": "---\ntitle: [a\n---\n# A",
    })  # fmt: skip
    (folder / "link.md").symlink_to(outside)
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "up").symlink_to(tmp_path)
    (folder / "within.md").symlink_to("good.md")
    os.mkfifo(folder / "pipe.md")
    items, bad = parted(read(str(folder), repo=repo))
    assert [item.key for item in items] == ["good", "within"]
    told = dict(line.split(": ", 1) for line in bad)
    assert told.keys() == {
        "alias.md", "base.md", "empty.md", "large.md", "latin.md", "link.md", "loop.md", "pipe.md",
        "state.md, front matter", "twice.md", "yaml.md",
    }  # fmt: skip
    assert told["link.md"] == "is a link out of the folder, not followed"
    assert told["pipe.md"] == "is not a regular file"
    assert "the key 'title' is there twice" in told["twice.md"]
    assert "front matter, line " in told["yaml.md"]
    assert "secret" not in json.dumps(bad)


def instance(name: str, **changed: object) -> dict[str, object]:
    return {
        "repo": "shop/till", "instance_id": name, "base_commit": "a" * 40,
        "problem_statement": "Sum\nis wrong",
        "FAIL_TO_PASS": '["t.py::a"]', "PASS_TO_PASS": ["t.py::b"], "patch": "ANSWER", "test_patch": "HIDDEN",
    } | changed  # fmt: skip


def test_swebench_rows_keep_what_graders_see_only_where_asked(tmp_path: Path, repo: Path) -> None:
    file = tmp_path / "set.jsonl"
    found = [
        instance("shop__till-1"),
        instance("shop__till-2", FAIL_TO_PASS="[not json"),
        instance("x", repo=1),
    ]
    file.write_text("\n".join(map(json.dumps, found)))
    [item], bad = parted(read(str(file), repo=repo))
    assert [line.partition(": ")[0] for line in bad] == [
        "set.jsonl, row 2 (line 2)",
        "set.jsonl, row 3 (line 3)",
    ]
    assert (item.key, item.title, item.body, item.base) == ("shop__till-1", "Sum", "is wrong", "a" * 40)
    assert "HIDDEN" not in item.model_dump_json()
    assert "t.py" not in item.model_dump_json()
    [graded], _ = parted(read(str(file), repo=repo, grading=True))
    grading = graded.meta["grading"]
    assert isinstance(grading, dict)
    assert (grading["fail_to_pass"], grading["pass_to_pass"]) == (["t.py::a"], ["t.py::b"])
    assert grading["test_patch"] == "HIDDEN"
    assert "HIDDEN" not in graded.prompt
    assert "ANSWER" not in graded.model_dump_json()
    assert graded.revision == item.revision


@pytest.mark.skipif(not BENCH.is_dir(), reason="ADI_BENCH names no folder of suites")
def test_the_suites_of_adi_are_backlogs(repo: Path) -> None:
    items, bad = parted(read(str(BENCH / "repobugs" / "instances.jsonl"), repo=repo))
    assert (len(items), bad) == (14, [])
    assert items[0].title == "args2sh and args2cmd ignore their sep argument"
    items, bad = parted(read(str(BENCH / "quixbugs" / "quixbugs.jsonl"), repo=repo))
    assert (len(items), bad) == (20, [])
    assert items[0].checks == ("python3 -m pytest -q test_bitcount.py",)


def harbor(folder: Path, toml: str, instruction: str = "# Do it\nnow") -> None:
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test.sh").write_text("HIDDEN")
    (folder / "task.toml").write_text(toml)
    (folder / "instruction.md").write_text(instruction)


def test_harbor_tasks(tmp_path: Path, repo: Path) -> None:
    tasks = tmp_path / "tasks"
    harbor(
        tasks / "a",
        "schema_version = '1.4'\n[task]\nname = 'org/a'\ndescription = 'Mend a'\nkeywords = ['k']\n"
        "[agent]\ntimeout_sec = 90.0\n[environment]\nnetwork_mode = 'no-network'\ncpus = 2\n",
    )
    harbor(tasks / "b", "")
    harbor(tasks / "c", "version = '2.0'")
    harbor(tasks / "d", "[[steps]]\nname = 's'")
    harbor(tasks / "e", "[task\n")
    harbor(tasks / "f", "", "\n")
    harbor(tasks / "g", "[agent]\ntimeout_sec = 'soon'")
    (tasks / "h").symlink_to(tasks / "a")
    (tmp_path / "secret").write_text("SECRET")
    harbor(tasks / "i", "")
    (tasks / "i" / "instruction.md").unlink()
    (tasks / "i" / "instruction.md").symlink_to(tmp_path / "secret")
    items, bad = parted(read(str(tasks), repo=repo))
    assert [(item.key, item.title, item.body) for item in items] == [
        ("org/a", "Mend a", "# Do it\nnow"),
        ("b", "Do it", "# Do it\nnow"),
    ]
    assert items[0].meta["timeout_s"] == 90
    assert [line.partition(":")[0] for line in bad] == [
        "c/task.toml", "d/task.toml", "e/task.toml", "f/instruction.md", "g/task.toml", "h/task.toml",
        "i/instruction.md",
    ]  # fmt: skip
    [one], _ = parted(read(str(tasks / "a"), repo=repo, grading=True))
    assert one.meta["grading"] == {"tests": str(tasks / "a" / "tests"), "timeout_s": None}
    assert "SECRET" not in json.dumps(bad)


def test_repositories_are_found_by_name_and_never_by_path(tmp_path: Path) -> None:
    repos = tmp_path / "repos"
    for name in ("shop__till", "own/er", "plain", "shop__till-2"):
        (repos / name / ".git").mkdir(parents=True)
    (tmp_path / "outside" / ".git").mkdir(parents=True)
    names = {"1": "shop/till", "2": "own/er", "3": "any/plain", "4": "gone/none", "5": "../outside",
             "6": str(tmp_path / "outside"), "7": "", "8": ".."}  # fmt: skip
    lines = [json.dumps(instance(f"i-{key}", repo=name)) for key, name in names.items()]
    lines.append(json.dumps(instance("shop__till-2")))
    items, bad = parted(read("-", repos=repos, stdin=io.BytesIO("\n".join(lines).encode())))
    assert {item.key: item.repo for item in items} == {
        "i-1": str(repos / "shop__till"),
        "i-2": str(repos / "own/er"),
        "i-3": str(repos / "plain"),
        "shop__till-2": str(repos / "shop__till-2"),
    }
    assert [line.partition(": ")[0][-2] for line in bad] == ["4", "5", "6", "7", "8"]
    assert all("repository is missing" in line for line in bad)
    with pytest.raises(UsageError, match="is not a git repository"):
        read("-", repo=tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        read("-", repos=tmp_path / "none")
