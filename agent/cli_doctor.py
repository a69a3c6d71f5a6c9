"""`adi doctor`: what is missing here, and with --fix the mending of it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from agent.doctor import Finding, Subject, examine
from agent.errors import ENVIRONMENT, EnvironmentMissing
from agent.inert import inert_line
from agent.profiles import wanted
from agent.settings import directories, load
from memory.records import SCHEMA_VERSION

MARKS: Final = {
    "pass": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "red"),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what fails: Docker, image, model.")] = False,
    offline: Annotated[bool, typer.Option(help="Fetch nothing while mending.")] = False,
    verify: Annotated[bool, typer.Option(help="Also compare the model's hash.")] = False,
    images: Annotated[
        str, typer.Option(help="Sandbox images to look for: all, or names such as node,go.", metavar="NAMES")
    ] = "",
) -> None:
    """Check what ADI needs; every failure comes with the command that mends it."""
    loaded = load(None, {"model": {"offline": offline or None}})
    subject = Subject(loaded.settings, directories(), verify, wanted(images, Path.cwd()))
    if fix:
        mend(subject, lambda line: typer.echo(f"  {inert_line(line)}", err=True))
    findings = []
    for finding in examine(subject):
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = [finding.name for finding in findings if finding.status == "fail"]
    if as_json:
        typer.echo(document(findings))
    elif failed:
        typer.echo(f"{', '.join(failed)}: not ready; adi doctor --fix mends what it can", err=True)
    raise typer.Exit(ENVIRONMENT if failed else 0)


def document(findings: list[Finding]) -> str:
    """The JSON of `adi doctor --json`."""
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "type": "doctor",
            "ok": all(finding.status != "fail" for finding in findings),
            "findings": [
                {"name": f.name, "status": f.status, "detail": f.detail, "fix": f.fix} for f in findings
            ],
        }
    )


def mend(subject: Subject, say: Callable[[str], None]) -> None:
    """Mend what fails, in the order in which one needs the other. Raises what a mending raises."""
    for name, repair in REPAIRS.items():
        finding = next(f for f in examine(subject) if f.name == name)
        if finding.status == "fail":
            repair(subject, say)


def _mend_docker(subject: Subject, say: Callable[[str], None]) -> None:
    from sandbox.engine import install_engine

    say("Docker does not answer: installing and starting an engine from the distribution's packages")
    subject.places.logs.mkdir(parents=True, exist_ok=True)
    install_engine(say, subject.places.logs / "dockerd.log")


def _mend_image(subject: Subject, say: Callable[[str], None]) -> None:
    from sandbox.images import ensure_image

    wanted = subject.settings.sandbox.image
    if wanted:
        raise EnvironmentMissing(
            f"the image {wanted} of your settings is not there",
            f"docker pull {wanted}, or unset sandbox.image",
        )
    for profile in subject.profiles:
        ensure_image(profile, say)


def _mend_model(subject: Subject, say: Callable[[str], None]) -> None:
    from agent.cli_model import pull

    offline = subject.settings.model.offline
    say(f"{'looking for' if offline else 'fetching'} the model {subject.model_name}")
    pull(subject.model_name, offline=offline)


REPAIRS: Final = {"docker": _mend_docker, "image": _mend_image, "model": _mend_model}


def _print(finding: Finding) -> None:
    from rich.text import Text

    from agent.display import make_console
    from agent.display_wrap import print_line

    mark, color = MARKS[finding.status]
    console = make_console(sys.stdout)
    print_line(console, Text.assemble((mark, color), f" {finding.name:<9} {inert_line(finding.detail)}"))
    if finding.fix and finding.status != "pass":
        print_line(console, Text(f"    mend it: {inert_line(finding.fix)}"))
