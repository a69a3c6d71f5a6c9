"""From repositories to a corpus: every step with its counts, licences, likeness, splits."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from feedback import corpus_write
from feedback.corpus import make, normal, split_of
from feedback.corpus_card import report
from feedback.corpus_record import SPLITS, Wish
from feedback.errors import DataError
from tests.conftest import RepoFactory, git
from tests.corpus_kit import APACHE, HELPERS, LOCAL, MIT_MANIFEST, TOKENS, code, of_step, paths


def test_every_file_is_counted_once_on_its_way(make_repo: RepoFactory) -> None:
    root = make_repo(
        {
            "pyproject.toml": MIT_MANIFEST,
            "a.py": code("a"),
            "a_again.py": code("a").replace("\n", "\r\n"),
            "like_a.py": code("a", 40).replace("left", "links", 1),
            "like_a_too.py": code("a", 40),
            "b.py": code("b") + "key = 'tok_12345'\n",
            "armoured.py": code("c") + "# armoured key\n",
            "pem.py": code("d") + "# -----BEGIN RSA " + "PRIVATE KEY-----\n",
            "gap.py": code("e") + "x = '<|fim_middle|>'\n",
            "gpl.py": "# SPDX-License-Identifier: GPL-3.0-only\n" + code("f"),
            "broken.py": "def f(:\n" + code("g"),
            "notes.txt": "words\n",
            "logo.png": b"\x89PNG\r\n\x1a\n\0\0",
            "latin.py": "# caf\xe9\n".encode("latin-1") + code("h").encode(),
            "said.py": "# -*- coding: latin-1 -*-\n# caf\xe9\n".encode("latin-1") + code("i").encode(),
            "large.py": "# a comment\n" * 90_000,
            "vendor/c.py": code("j"),
            ".env": "A=1\n",
            "secrets.yml": "password: from the vault, never here: see the page on that\n",
        }
    )
    (root / "link.py").symlink_to("a.py")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=link")
    made = make([root], Wish(), HELPERS, TOKENS)
    assert paths(made) == ["a.py", "b.py", "like_a.py", "pyproject.toml", "said.py"]
    assert of_step(made, "files") == {
        "binary": 1, "larger than 1 MB": 1, "link": 1, "not UTF-8, and no encoding named": 1,
    }  # fmt: skip
    assert of_step(made, "language") == {"no known language": 2}
    assert made.unknown == {"(none)": 1, ".txt": 1}
    assert of_step(made, "licence") == {"not permissive: GPL-3.0-only": 1}
    assert of_step(made, "quality") == {"Python that does not parse": 1, "vendored": 1}
    assert of_step(made, "control tokens") == {"holds one": 1}
    assert of_step(made, "secrets") == {"for secrets, by its name": 1, "private key": 2}
    assert of_step(made, "exact duplicates") == {"same text": 1}
    assert of_step(made, "near-duplicates") == {"like another file": 1}
    assert made.redacted == {"token": 1}
    for before, after in zip(made.steps, made.steps[1:], strict=False):
        assert before.rows_out == after.rows_in
        assert before.rows_in - before.rows_out == sum(before.reasons.values())
    assert (made.steps[0].rows_in, made.steps[-1].rows_out) == (20, 5)
    (b,) = [document for document in made.documents if document.path == "b.py"]
    assert "tok_12345" not in b.text
    assert "[REDACTED:token:1]" in b.text
    (said,) = [document for document in made.documents if document.path == "said.py"]
    assert "café" in said.text
    told = report(made)
    assert "near-duplicates" in told
    assert "MIT (manifest)" in told


def test_licences_are_those_nearest_to_a_file(make_repo: RepoFactory) -> None:
    gpl = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n"
    root = make_repo(
        {
            "pyproject.toml": MIT_MANIFEST, "a.py": code("a"), "b.py": APACHE + code("b"),
            "strange/LICENSE": "Ask us.\n",
            "strange/c.py": code("c"), "strange/d.py": APACHE + code("d"), "gpl/COPYING": gpl,
            "gpl/e.py": code("e"), "docs/license.md": "Licences are explained here, in many more words.\n",
            "docs/f.py": code("f"), "odd.py": "# SPDX-License-Identifier: LicenseRef-House\n" + code("g"),
        }
    )  # fmt: skip

    def found(wish: Wish) -> dict[str, str]:
        made = make([root], wish, HELPERS)
        return {
            one.path: f"{one.licence.spdx}/{one.licence.source}"
            for one in made.documents
            if one.language == "Python"
        }

    assert found(Wish()) == {
        "a.py": "MIT/manifest", "b.py": "Apache-2.0/header", "strange/d.py": "Apache-2.0/header",
        "docs/f.py": "MIT/manifest",
    }  # fmt: skip
    declared = found(Wish(licence="0BSD"))
    assert declared["a.py"] == declared["strange/c.py"] == "0BSD/declared"
    assert "gpl/e.py" not in declared
    assert declared["b.py"] == "Apache-2.0/header"
    local = make([root], LOCAL, HELPERS)
    assert {one.path: one.licence.permissive for one in local.documents}["gpl/e.py"] is False


def test_a_repository_without_a_licence_is_left_out_and_counted(make_repo: RepoFactory) -> None:
    root = make_repo({"a.py": code("a")})
    made = make([root], Wish(), HELPERS)
    assert (made.documents, of_step(made, "licence")) == ([], {"unknown": 1})
    with pytest.raises(DataError, match="no file is left"):
        corpus_write.write(made, root.parent / "out", None, "1")
    assert make([root], Wish(licence="MIT"), HELPERS).documents[0].licence.source == "declared"
    earlier = replace(HELPERS, declared=lambda _: "ISC")
    assert make([root], Wish(), earlier).documents[0].licence.spdx == "ISC"
    with pytest.raises(DataError, match="no licence that SPDX knows"):
        make([root], Wish(licence="My Own"), HELPERS)


def test_what_its_owner_refused_stays_out(make_repo: RepoFactory) -> None:
    one, other = make_repo({"a.py": code("a")}, "one"), make_repo({"b.py": code("b")}, "other")
    helpers = replace(HELPERS, refused=lambda root: "opted out" if root.name == "one" else "")
    made = make([one, other], LOCAL, helpers)
    assert paths(made) == ["b.py"]
    assert of_step(made, "opt-out") == {"opted out": 1}


def test_held_out_text_is_dropped_with_its_reason(make_repo: RepoFactory) -> None:
    root = make_repo({"a.py": code("a"), "b.py": code("b")})
    helpers = replace(HELPERS, overlaps=lambda text: "held-out text" if "def b(" in text else "")
    made = make([root], LOCAL, helpers)
    assert paths(made) == ["a.py"]
    assert of_step(made, "held-out suites") == {"held-out text": 1}


def test_normal_text_has_no_line_ends_and_blanks_before_them() -> None:
    assert normal("a = 1  \r\nb = 2\r\n\r\n") == normal("a = 1\nb = 2")
    assert normal("a = 1\n") != normal(" a = 1\n")


def test_splits_are_by_repository_and_do_not_move(tmp_path: Path) -> None:
    roots = []
    for number in range(40):
        root = tmp_path / f"r{number}"
        (root / "lib").mkdir(parents=True)
        (root / "a.py").write_text(code(f"a{number}"))
        (root / "lib" / "b.py").write_text(code(f"b{number}"))
        roots.append(root)
    made = make(roots, Wish(local=True, seed=1), HELPERS)
    splits = {(document.repo, document.split) for document in made.documents}
    assert len(splits) == 40
    assert {split for _, split in splits} == set(SPLITS)
    few = make(roots[:7], Wish(local=True, seed=1), HELPERS)
    assert {(document.repo, document.split) for document in few.documents} <= splits
    named = make(roots, Wish(local=True, names=True, seed=1), HELPERS)
    assert Counter(one.split for one in named.documents) == Counter(one.split for one in made.documents)
    assert {split_of(f"r{number}", 2) for number in range(40)} != {"train"}
    assert [split_of(f"r{number}", 2) for number in range(40)] != [
        split_of(f"r{number}", 1) for number in range(40)
    ]
    shares = Counter(split_of(f"place {number}", 0) for number in range(4000))
    assert 3500 < shares["train"] < 3700
    assert 140 < shares["validation"] < 260
    assert 140 < shares["test"] < 260


def test_one_repository_is_split_by_folder_and_that_is_told(make_repo: RepoFactory) -> None:
    root = make_repo(
        {f"f{number}/{name}.py": code(f"{name}{number}") for number in range(40) for name in "ab"}
    )
    made = make([root], LOCAL, HELPERS)
    by_folder = {(one.path.split("/")[0], one.split) for one in made.documents}
    assert len(by_folder) == 40
    assert {split for _, split in by_folder} == set(SPLITS)
    assert made.split_by == "folder"
    assert any("split by folder" in note for note in made.notes)


def test_repositories_of_one_name_are_told_apart(tmp_path: Path, make_repo: RepoFactory) -> None:
    roots = [make_repo({"a.py": code(f"a{n}")}, f"{n}/app") for n in "xy"]
    made = make(roots, Wish(local=True, names=True), HELPERS)
    assert [document.repo for document in made.documents] == ["x/app", "y/app"]
    assert tmp_path.name not in json.dumps([one.repo for one in make(roots, LOCAL, HELPERS).documents])
