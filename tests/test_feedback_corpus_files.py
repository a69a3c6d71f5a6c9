"""What a corpus reads of a repository: what is committed, what its owner leaves in, and nothing that runs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from feedback.corpus import make
from feedback.corpus_files import opened, text_of
from feedback.corpus_record import Wish
from feedback.corpus_rules import attributes, opt_out
from feedback.errors import DataError
from sandbox.errors import RepositoryState, SandboxError
from tests.conftest import RepoFactory, git
from tests.corpus_kit import HELPERS, LOCAL, MIT_MANIFEST, code, of_step, paths


def test_what_is_committed_counts_and_nothing_of_the_repository_runs(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    root = make_repo({"a.py": code("a"), ".gitattributes": "*.py filter=evil diff=evil\n"})
    mark = tmp_path / "ran"
    for key in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "core.fsmonitor"):
        git(root, "config", key, f"touch {mark}")
    (root / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        (root / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (root / ".git" / "hooks" / hook).chmod(0o755)
    (root / "a.py").write_text("not committed\n")
    (root / "b.py").write_text(code("b"))
    before = sorted((path, path.lstat().st_mtime_ns) for path in root.rglob("*"))
    made = make([root], LOCAL, HELPERS)
    assert [document.text for document in made.documents] == [code("a")]
    assert made.documents[0].commit == git(root, "rev-parse", "HEAD")
    assert not mark.exists()
    assert sorted((path, path.lstat().st_mtime_ns) for path in root.rglob("*")) == before


def test_a_folder_without_git_is_read_as_it_lies(tmp_path: Path, make_repo: RepoFactory) -> None:
    root = tmp_path / "code"
    for name in ("a.py", "lib/b.py", "node_modules/c.js", "lib/.venv/d.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code(Path(name).stem))
    make_repo({"inner.py": code("inner")}, "code/nested")
    outside = tmp_path / "outside.py"
    outside.write_text(code("outside"))
    (root / "link.py").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "fifo.py")
    (root / os.fsdecode(b"link-\xff.py")).symlink_to("nowhere")
    (root / os.fsdecode(b"name-\xff.py")).write_text(code("name"))
    made = make([root], LOCAL, HELPERS)
    assert paths(made) == ["a.py", "lib/b.py"]
    assert {document.commit for document in made.documents} == {""}
    assert of_step(made, "files") == {"link": 3, "name is no safe UTF-8 path": 1, "no regular file": 1}
    assert made.notes[:2] == [
        "code: nested was not entered: it is a git repository",
        "code: caches were not entered: 2, such as lib/.venv",
    ]


def test_a_folder_of_a_repository_is_that_part_of_it(make_repo: RepoFactory) -> None:
    root = make_repo({"src/a.py": code("a"), "b.py": code("b"), "pyproject.toml": MIT_MANIFEST, "out/x": "1"})
    made = make([root / "src"], Wish(), HELPERS)
    assert [(one.path, one.licence.spdx) for one in made.documents] == [("src/a.py", "MIT")]
    both = make([root / "src", root, root], Wish(), HELPERS)
    assert paths(both) == ["b.py", "pyproject.toml", "src/a.py"]
    assert len({document.repo for document in both.documents}) == 1
    assert [one.seen for one in both.repositories] == [1, 3, 0]


@pytest.mark.parametrize("where", ["disk", "commit"])
def test_a_no_train_file_leaves_everything_out(make_repo: RepoFactory, where: str) -> None:
    root = make_repo({"a.py": code("a"), **({".adi/no-train": ""} if where == "commit" else {})})
    if where == "disk":
        (root / ".adi").mkdir()
        (root / ".adi" / "no-train").write_text("# not this\n")
    else:
        (root / ".adi" / "no-train").unlink()
    made = make([root], Wish(local=True, licence="MIT"), HELPERS)
    assert made.documents == []
    assert set(of_step(made, "opt-out")) == {".adi/no-train"}
    assert made.repositories[0].why == ".adi/no-train"


def test_a_no_train_file_with_patterns_leaves_those_out(make_repo: RepoFactory) -> None:
    root = make_repo(
        {
            ".adi/no-train": "# mine\nsecret/\n*_private.py\n!ok_private.py\n/top.py\n",
            "secret/a.py": code("a"), "lib/secret/b.py": code("b"), "ok_private.py": code("c"),
            "top.py": code("d"), "lib/top.py": code("e"),
        }
    )  # fmt: skip
    made = make([root], LOCAL, HELPERS)
    assert paths(made) == ["lib/top.py"]
    assert of_step(made, "opt-out") == {".adi/no-train": 4}


@pytest.mark.parametrize(
    ("text", "path", "out"),
    [
        (b"", "a.py", True),
        (b"# only words\n\n", "a.py", True),
        (b"/\n", "a/b.py", True),
        (b".\n", "a/b.py", True),
        (b"*\n", "a/b.py", True),
        (b"\xff\xfe/\0", "a.py", True),
        (b"\xef\xbb\xbfa.py\n", "a.py", True),
        (b"a.py\r\n", "a.py", True),
        (b"./a.py\n", "a.py", True),
        (b"a.py\n", "lib/a.py", True),
        (b"/a.py\n", "lib/a.py", False),
        (b"lib/*.py\n", "lib/a.py", True),
        (b"lib/*.py\n", "lib/x/a.py", False),
        (b"lib/**/a.py\n", "lib/a.py", True),
        (b"lib/**/a.py\n", "lib/x/y/a.py", True),
        (b"lib/**\n", "lib/x/y/a.py", True),
        (b"lib/**\n", "lib", False),
        (b"**/gen\n", "x/gen/a.py", True),
        (b"lib\n", "library/a.py", False),
        (b"[ab].py\n", "b.py", True),
        (b"[^ab].py\n", "b.py", False),
        (b"\\*.py\n", "a.py", False),
        (b"!a.py\n", "b.py", True),
        (b"a*a*a*a*a*a*a*a*a*a*a*b\n", "a" * 200, False),
        (b"**/**/**/**/**/**/**/**/x\n", "a/" * 90 + "y", False),
    ],
)
def test_patterns_of_a_no_train_file(text: bytes, path: str, out: bool) -> None:
    assert opt_out(text).covers(path) is out


def test_attributes_of_git_tell_what_is_not_ones_own() -> None:
    found = attributes(
        {
            ".gitattributes": b"*.gen linguist-generated\nlib/** linguist-vendored=true\n"
            b"[attr]x linguist-vendored\n"
            b"# *.py linguist-vendored\n*.txt text\n\"a b.py\" -linguist-generated\n",
            "lib/own/.gitattributes": b"* linguist-vendored=false\n",
            "sub/.gitattributes": b"/b.py linguist-generated=false\n",
        }
    )  # fmt: skip
    assert found.of("a.gen") == {"generated": True}
    assert found.of("lib/x/a.py") == {"vendored": True}
    assert found.of("lib/own/a.py") == {"vendored": False}
    assert found.of("sub/b.py") == {"generated": False}
    assert found.of("b.py") == {}
    assert found.of("a b.py") == {"generated": False}


def damaged_head(root: Path) -> None:
    (root / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")


def lost_objects(root: Path) -> None:
    for path in (root / ".git" / "objects").glob("??/*"):
        path.unlink()


def leads_elsewhere(root: Path) -> None:
    git_dir = root / ".git"
    git_dir.rename(root.parent / "elsewhere")
    git_dir.write_text(f"gitdir: {root.parent / 'elsewhere'}\n")


@pytest.mark.parametrize("damage", [damaged_head, lost_objects, leads_elsewhere])
def test_a_damaged_repository_is_an_error_and_not_a_folder(
    make_repo: RepoFactory, damage: Callable[[Path], None]
) -> None:
    root = make_repo({"a.py": code("a")})
    damage(root)
    with pytest.raises(SandboxError) as failed:
        make([root], LOCAL, HELPERS)
    assert failed.value.hint


def test_what_is_no_folder_and_what_has_no_commit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        make([tmp_path / "none"], LOCAL, HELPERS)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "fresh")
    (tmp_path / "fresh" / "a.py").write_text(code("a"))
    made = make([tmp_path / "fresh"], LOCAL, HELPERS)
    assert (made.documents, made.repositories[0].seen) == ([], 0)
    assert made.notes == ["fresh: it has no commit yet, so it holds nothing"]


def test_objects_named_by_sha256_are_refused_with_a_hint(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", "new")
    (tmp_path / "new" / "a.py").write_text(code("a"))
    git(tmp_path / "new", "add", "--all")
    git(tmp_path / "new", "commit", "--quiet", "--message=first")
    with pytest.raises(RepositoryState, match="SHA-256") as refused:
        make([tmp_path / "new"], LOCAL, HELPERS)
    assert "sha1" in refused.value.hint


def test_submodules_and_linked_work_trees(make_repo: RepoFactory, tmp_path: Path) -> None:
    inner, root = make_repo({"i.py": code("i")}, "inner"), make_repo({"a.py": code("a")}, "outer")
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "lib")
    git(root, "commit", "--quiet", "--message=submodule")
    git(root, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    for place in (root, tmp_path / "linked"):
        made = make([place], LOCAL, HELPERS)
        assert paths(made) == ["a.py"]
        assert of_step(made, "files") == {"submodule": 1}


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("a é\n".encode(), "a é\n", "utf-8"),
        ("\ufeffa\n".encode(), "a\n", "utf-8"),
        ("a é\n".encode("utf-16"), "a é\n", "utf-16"),
        (
            b"# vim: set fileencoding=latin-1\n# caf\xe9\n",
            "# vim: set fileencoding=latin-1\n# café\n",
            "latin-1",
        ),
        (b"\n# coding: zlib\n\xff", "", ""),
        (b"\n\n# coding: latin-1\n\xe9", "", ""),
        (b"a\0b", "", ""),
        (b"\xff\xfe\0", "", ""),
        (b"caf\xe9", "", ""),
        (b"", "", "utf-8"),
    ],
)
def test_bytes_become_text_or_nothing(data: bytes, text: str, encoding: str) -> None:
    assert text_of(data) == (text, encoding)


def test_a_source_is_what_detectors_read(make_repo: RepoFactory) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    with opened(root) as source:
        assert (source.paths(), source.exists("a.py"), source.size("a.py")) == (["a.py"], True, 6)
        assert source.read("a.py") == b"x = 1\n"
