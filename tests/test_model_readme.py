"""README's lines about the model by itself, run as they stand there, against each local engine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.server import find, stop

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent


def blocks() -> tuple[str, str, str]:
    """The shell, Python and curl blocks of the section."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition("## The model by itself\n")[2].partition("\n## ")[0]
    shell, python, curl = re.findall(r"```\w*\n(.*?)```", section, re.DOTALL)
    return shell, python, curl


@pytest.fixture(params=["llama", "torch"])
def home(
    request: pytest.FixtureRequest, adi_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A home in which the default model is a tiny one."""
    from model.store import file_sha256
    from model.tiny import write_tiny

    file = write_tiny(tmp_path / "tiny.gguf")
    lines = ['[models."qwen2.5-coder-1.5b"]', f'sha256 = "{file_sha256(file)}"', f'local = ["{file}"]']
    (adi_home / "models.toml").write_text("\n".join([*lines, 'family = "qwen2.5-coder"', ""]))
    monkeypatch.setenv("ADI_MODEL__ENGINE", request.param)
    monkeypatch.setenv("ADI_MODEL__DEVICE", "cpu")
    yield adi_home
    stop(adi_home / "server")


@pytest.mark.sample(1)
def test_the_lines_of_the_readme_work_as_they_stand(home: Path, tmp_path: Path) -> None:
    shell, python, curl = blocks()
    assert len(python.strip().splitlines()) == 3
    programs = tmp_path / "bin"
    programs.mkdir()
    adi = programs / "adi"
    adi.write_text(f"#!{sys.executable} -P\nfrom agent.cli import main\n\nmain()\n")
    adi.chmod(0o755)
    script = tmp_path / "three.py"
    script.write_text(python)
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{shell}\n{sys.executable} {script}\necho\necho ---\n{curl}"],
        env={
            **os.environ,
            "PATH": path,
            "NO_PROXY": "127.0.0.1",
            "PYTHONUTF8": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, _, answers = done.stdout.partition("\n---\n")
    text, end = json.JSONDecoder().raw_decode(answers)
    chat = json.loads(answers[end:])
    for answer in (text, chat):
        assert answer["model"] == "qwen2.5-coder-1.5b"
        assert 0 < answer["usage"]["completion_tokens"] <= 48
    assert said.startswith(text["choices"][0]["text"])  # both ways ask for the same, greedily
    state = find(home / "server")
    assert state is not None
    assert state.engine == os.environ["ADI_MODEL__ENGINE"]
