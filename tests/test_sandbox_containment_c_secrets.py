"""Case C05, what is copied: a file that looks like the user's secret stays on the host and is named."""

import subprocess
from pathlib import Path

import pytest

from sandbox.errors import Conflict, UnsafePath
from sandbox.exchange import exchange
from sandbox.paths import leads_out
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git

pytestmark = pytest.mark.containment

CANARY = "cd9f-canary-51b7"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n"
SECRETS = {
    ".env": f"API_KEY={CANARY}\n",
    "web/.env.local": f"TOKEN={CANARY}\n",
    "prod.env": f"TOKEN={CANARY}\n",
    ".envrc": f"export TOKEN={CANARY}\n",
    ".netrc": f"machine x password {CANARY}\n",
    ".git-credentials": f"https://u:{CANARY}@example.org\n",
    ".pypirc": f"password = {CANARY}\n",
    ".npmrc": f"//registry.example.org/:_authToken={CANARY}\n",
    "id_ed25519": KEY,
    "deploy/Server.PEM": KEY,
    "tls/server.key": KEY,
    "store.p12": CANARY,
    ".aws/credentials": f"aws_secret_access_key = {CANARY}\n",
    "config/credentials.json": f'{{"private_key": "{CANARY}"}}',
    "prod.tfvars": f'password = "{CANARY}"\n',
}
HARMLESS = {
    ".env.example": "API_KEY=\n",
    "env.py": "x = 1\n",
    ".npmrc": "fund=false\n",
    "cert.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "environment.yml": "name: x\n",
    "secrets.py": "x = 1\n",
    "notes.key": "see the lecture\n",
}


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def copied_bytes(copy: WorkCopy) -> bytes:
    """Everything that a sandbox or a prompt can get, and every object in the shadow."""
    shadow = copy.snapshot.shadow
    command = ["git", "cat-file", "--batch", "--batch-all-objects"]
    objects = subprocess.run(command, cwd=shadow, capture_output=True, check=True).stdout
    return copy.archive() + copy.diff() + objects


def test_sandbox_c05_secrets_are_not_copied(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    plant(root, SECRETS)
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert copy.paths() == ["a.py"]
    assert copy.snapshot.held_back == tuple(sorted(SECRETS))
    assert CANARY.encode() not in copied_bytes(copy)
    (note,) = copy.snapshot.notes
    assert "looks like a secret" in note
    assert "'.aws/credentials'" in note
    assert f"and {len(SECRETS) - 5} more" in note
    assert "a test that needs it fails" in note


def test_sandbox_c05_harmless_and_committed_files_are_copied(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"a.py": "x = 1\n", ".env": "DEBUG=1\n", "tests/ca.key": KEY})
    plant(root, HARMLESS)
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert copy.paths() == sorted({"a.py", ".env", "tests/ca.key", *HARMLESS})
    assert copy.snapshot.notes == ()


def test_sandbox_c05_a_committed_file_with_the_users_own_values_is_not_copied(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    root = make_repo({"a.py": "x = 1\n", ".env": "API_KEY=changeme\n", ".npmrc": "fund=false\n"})
    plant(root, {".env": f"API_KEY={CANARY}\n", ".npmrc": f"_authToken={CANARY}\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert copy.snapshot.held_back == (".env", ".npmrc")
    assert copy.paths() == ["a.py"]
    assert CANARY.encode() not in copied_bytes(copy)
    git(root, "add", ".npmrc")  # the way that the note names
    assert WorkCopy(snapshot(root, tmp_path / "shadow")).paths() == [".npmrc", "a.py"]


def test_sandbox_c05_a_held_back_file_is_never_written(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    plant(root, {".env": f"API_KEY={CANARY}\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    with pytest.raises(UnsafePath, match="looks like a secret"):
        copy.write(".env", b"API_KEY=\n")
    assert copy.absorb({".env": b"made by a test\n"}) == []
    with pytest.raises(Conflict):  # a patch of an older run, from before the file was there
        exchange(root, {".env": (None, b"API_KEY=\n")}, tmp_path / "journal")
    assert (root / ".env").read_text() == f"API_KEY={CANARY}\n"


def test_sandbox_c04_links_out_of_the_repository_stay_out(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"pkg/a.py": "x = 1\n"})
    (root / "absolute").symlink_to(tmp_path / "home-of-ada")
    (root / "pkg/relative").symlink_to("../../secret")
    (root / "pkg/inside").symlink_to("../pkg/a.py")
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    archive = copy.archive()
    assert b"home-of-ada" not in archive
    assert b"../../secret" not in archive
    assert b"../pkg/a.py" in archive
    assert [note for note in copy.snapshot.notes if "link out of the repository" in note] == [
        "'absolute' is not in the sandbox: it is a link out of the repository",
        "'pkg/relative' is not in the sandbox: it is a link out of the repository",
    ]


def test_sandbox_c04_which_links_lead_out() -> None:
    out = [
        ("a", ".."), ("a", "../b"), ("a", "/etc"), ("a", "x/../../b"), ("d/a", "../.."), ("d/a", "../../d/b"),
    ]  # fmt: skip
    inside = [("a", "b"), ("a", "..b"), ("d/a", "../b"), ("d/e/a", "./../../b"), ("d/a", ".")]
    assert [leads_out(path, target) for path, target in out] == [True] * len(out)
    assert [leads_out(path, target) for path, target in inside] == [False] * len(inside)
