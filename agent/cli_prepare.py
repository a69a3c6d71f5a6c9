"""`adi prepare`: show what a repository's dependency files ask for, and install it in a step of its own."""

import hashlib
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from agent.display_wrap import tell
from agent.errors import NEEDS_PERSON, UsageError
from agent.settings import Loaded, Settings, directories, load

if TYPE_CHECKING:
    from sandbox.dependencies import Wanted
    from sandbox.egress import Asked
    from sandbox.prepare import Step
    from sandbox.registries import Registries

NOT_ACCEPTED = 3
SHOWN = 60
"""Packages that are named one by one."""


def prepare(
    repo: Annotated[Path, typer.Option("--repo", help="Directory in the git repository.")] = Path(),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install what is shown, without a question.")
    ] = False,
    registry: Annotated[
        list[str] | None,
        typer.Option("--registry", help="pypi+URL, npm+URL or URL; replaces the allow-list; repeatable."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List prepared environments.")] = False,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="TAG", help="Remove one, or `all`.")
    ] = None,
) -> None:
    """Install what a repository's checks need: shown first, without secrets, from listed hosts only."""
    from sandbox.repository import locate

    root = None if listed or remove else locate(repo).root
    loaded = load(root, {"sandbox": {"registries": registry or None}})
    refuse_doubtful_policy(loaded)
    if listed or remove:
        _stored(remove)
        return
    assert root is not None
    raise typer.Exit(prepare_repository(loaded.settings, root, yes=yes))


def refuse_doubtful_policy(loaded: Loaded) -> None:
    """A key of the sandbox's policy that nobody understands may have been meant to close something."""
    for warning in loaded.warnings:
        if "unknown setting sandbox" in warning:
            raise UsageError(warning, "mend the setting; nothing is installed under a policy in doubt")
        _say(f"warning: {warning}")


def prepare_repository(settings: Settings, root: Path, *, yes: bool) -> int:
    """Show, ask, install; an exit code. Raises UsageError, SandboxError."""
    from agent.environment import tag_for, wanted_of
    from feedback.checks import checks_of, detect, image_profile
    from sandbox.client import connect
    from sandbox.errors import DependenciesRefused
    from sandbox.images import ensure_image, is_present
    from sandbox.isolation import Engine, choose
    from sandbox.owner import reap
    from sandbox.prepare import Step, limits_of
    from sandbox.registries import parse
    from sandbox.workcopy import WorkCopy, snapshot

    if settings.sandbox.image:
        raise UsageError(
            f"runs use your own image {settings.sandbox.image}, and nothing is added to it",
            "install the packages in that image, or unset sandbox.image",
        )
    files = WorkCopy(snapshot(root, directories().shadow))
    profile = image_profile(checks_of(settings.run.checks) or detect(files), files.paths())
    wanted = wanted_of(files, profile)
    registries = parse(settings.sandbox.registries)
    if not wanted.anything:
        _say("No dependency file asks for a package: nothing to prepare.")
        return 0
    with closing(connect()) as client:
        isolation = choose(Engine.ask(client), settings.sandbox.isolation, settings.sandbox.runtime)
        reap(client)
        base = ensure_image(profile, _say, client)
        tag = tag_for(settings, wanted, base)
        if is_present(tag, client):
            _say(f"Prepared already: {len(wanted.packages)} packages, for these very dependency files.")
            typer.echo(tag)
            return 0
        show(wanted, registries)
        if wanted.blocked:
            raise DependenciesRefused(wanted.blocked, "commit what the tests need, or change the file")
        _check_index(wanted, registries)
        if not yes and not _agreed():
            return NOT_ACCEPTED if _attended() else NEEDS_PERSON
        own = settings.sandbox
        return _install(
            Step(
                client=client,
                base=base,
                tag=tag,
                wanted=wanted,
                registries=registries,
                run_id=f"prepare-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:6]}",
                home=hashlib.sha256(str(directories().data).encode()).hexdigest()[:16],
                archive=files.archive,
                limits=limits_of(own.memory_mb, own.prepare_mb, own.cpus, own.pids),
                isolation=isolation,
                progress=lambda line: _say(f"  {line}"),
            )
        )


def _check_index(wanted: "Wanted", registries: "Registries") -> None:
    if wanted.kind not in registries.indexes:
        from sandbox.errors import RegistryRefused

        raise RegistryRefused(
            f"sandbox.registries names no index for {wanted.kind}, so nothing can be installed",
            f"add one: {wanted.kind}+https://host/path",
        )


def show(wanted: "Wanted", registries: "Registries") -> None:
    """Which files ask, for what, and which hosts may be reached."""
    _say(
        "This repository asks for packages. They and what they bring along would be installed in a container"
    )
    _say(
        "that gets no secret and none of the repository but these files, and may reach only the hosts below."
    )
    for source in dict.fromkeys(package.source for package in wanted.packages):
        _say(f"  {source}")
        for package in [one for one in wanted.packages if one.source == source][:SHOWN]:
            doubt = "  (! not in the lock file)" if package.unlocked else ""
            _say(f"    {package.name} {package.wanted or '(any version)'}{doubt}")
    for sentence in wanted.left_out:
        _say(f"  ! {sentence}")
    _say(f"  hosts: {', '.join(map(str, registries.places(wanted.kind)))}")
    if wanted.kind == "npm":
        _say("  install scripts of packages are not run")
    if wanted.installs_itself:
        _say("  then the project itself, from a copy, with nothing to reach")


def _attended() -> bool:
    from agent.cli_run import somebody_is_there

    return somebody_is_there()


def _agreed() -> bool:
    """A person's yes at the terminal; without one, the hint."""
    if not _attended():
        _say("hint: install what is shown: adi prepare --yes")
        return False
    from agent.person import forget_typed

    forget_typed(sys.stdin)
    typer.echo("Install these packages? y yes · Enter no > ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _install(step: "Step") -> int:
    try:
        made = step.run()
    finally:
        for asked in step.asked:
            _say(f"  {_told(asked)}")
    for note in made.notes:
        _say(f"  ! {note}")
    _say(
        f"Prepared in {made.seconds:.0f} s: {made.size / 1e6:.1f} MB kept, {made.down_bytes / 1e6:.1f} MB "
        "fetched. Runs on these dependency files use it, offline."
    )
    typer.echo(made.tag)
    return 0


def _told(asked: "Asked") -> str:
    times = f", {asked.times} times" if asked.times > 1 else ""
    if asked.allowed:
        return f"reached {asked.host}{times}" if not asked.reason else f"{asked.host}: {asked.reason}{times}"
    return f"REFUSED {asked.host}{times}: {asked.reason}"


def _stored(doomed: str | None) -> None:
    """Print what is prepared, or remove it."""
    from sandbox.client import connect
    from sandbox.prepared import every, remove

    with closing(connect()) as client:
        found = every(client)
        if doomed is None:
            for one in found:
                made = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created))
                typer.echo(f"{one.tag}  {made}  {one.size / 1e6:.0f} MB with {one.base}")
            return
        chosen = [one.tag for one in found if doomed in ("all", one.tag, one.tag.partition(":")[2])]
        if not chosen and doomed != "all":
            raise UsageError(f"no prepared environment {doomed!r}", "adi prepare --list")
        for tag in chosen:
            done = remove(client, tag)
            _say(f"removed {tag}" if done else f"{tag} is in use and stays")


def _say(line: str) -> None:
    tell(line, sys.stderr)
