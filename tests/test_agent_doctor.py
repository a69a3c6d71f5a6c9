"""The doctor sees what is missing, never hangs, and names the command that mends."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent import doctor
from agent.cli_doctor import REPAIRS, document
from agent.doctor import CHECKS, Finding, Subject, examine
from agent.settings import directories, load
from memory.store import Store
from model.errors import ModelMissing

NAMES = [check.__name__.removeprefix("check_") for check in CHECKS]
NO_DOCKER = "unix:///nowhere/docker.sock"


def subject(flags: dict[str, dict[str, object]] | None = None, *, verify: bool = False) -> Subject:
    return Subject(load(None, flags).settings, directories(), verify)


def run_doctor(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`adi doctor` in a process of its own."""
    command = [sys.executable, "-P", "-c", "from agent.cli import main; main()", "doctor", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


def test_json_has_every_finding_and_the_exit_code_follows() -> None:
    done = run_doctor("--json")
    told = json.loads(done.stdout)
    assert told["schema_version"] == 1
    assert [finding["name"] for finding in told["findings"]] == NAMES
    by_name = {finding["name"]: finding for finding in told["findings"]}
    assert by_name["model"]["status"] == "fail"
    assert by_name["model"]["fix"].startswith("adi model pull ")
    assert told["ok"] is False
    assert done.returncode == 6
    assert all(finding["fix"] for finding in told["findings"] if finding["status"] == "fail")


def test_no_docker_and_a_model_at_a_url() -> None:
    done = run_doctor(DOCKER_HOST=NO_DOCKER, ADI_MODEL__URL="http://localhost:1/v1")
    assert done.returncode == 6
    assert "✗ docker    no Docker engine answers at DOCKER_HOST" in done.stdout
    assert "✗ image" in done.stdout
    assert "✓ model     served at http://localhost:1/v1" in done.stdout
    assert "docker, isolation, image: not ready" in done.stderr


def test_mending_says_what_it_does_and_why_it_cannot() -> None:
    done = run_doctor("--fix", "--offline", DOCKER_HOST=NO_DOCKER)
    assert done.returncode == 6
    assert "Docker does not answer: installing and starting" in done.stderr
    assert "error: no Docker engine answers at DOCKER_HOST" in done.stderr
    assert "hint: " in done.stderr


def test_a_model_with_a_wrong_hash_is_found_on_demand(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.gguf"
    weights.write_bytes(b"not what was promised")
    places = directories()
    places.config.mkdir(parents=True, exist_ok=True)
    places.catalogue_file.write_text(f'[models.tiny]\nlocal = ["{weights}"]\nsha256 = "{"0" * 64}"\n')
    flags: dict[str, dict[str, object]] = {"model": {"name": "tiny"}}
    assert doctor.check_model(subject(flags)).status == "pass"
    told = doctor.check_model(subject(flags, verify=True))
    assert (told.status, told.fix) == ("fail", "adi model pull tiny")


def test_the_store_is_looked_at_and_never_changed(adi_home: Path) -> None:
    database = directories().database
    assert doctor.check_store(subject()).status == "pass"
    assert not database.exists()
    Store.open(database).close()
    assert doctor.check_store(subject()).detail == f"{database}, 0 runs"
    database.write_bytes(b"garbage" * 1000)
    told = doctor.check_store(subject())
    assert told.status == "fail"
    assert told.fix
    assert adi_home in database.parents


def test_a_check_that_hangs_or_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def check_slow(_: Subject) -> Finding:
        over.wait(30)
        return Finding("slow", "pass", "")

    def check_broken(_: Subject) -> Finding:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(doctor, "CHECKS", (check_broken, check_slow))
    broken, slow = examine(subject(), limit_s=0.2)
    over.set()
    assert broken == Finding("broken", "fail", "ZeroDivisionError: division by zero", "adi doctor --debug")
    assert slow.status == "fail"
    assert "no answer" in slow.detail


def test_offline_fetches_no_model() -> None:
    said: list[str] = []
    with pytest.raises(ModelMissing):
        REPAIRS["model"](subject({"model": {"offline": True}}), said.append)
    assert said[0].startswith("looking for the model")


def test_document_is_json() -> None:
    told = json.loads(document([Finding("x", "warn", "\x1b", "y")]))
    assert told["ok"] is True
