"""Installs the agents that ADI is compared with, each into an environment of its own, never beside ADI.

Run: python3.11 benchmarks/install_peers.py [NAME ...] [--check] [--home DIR]

They lie in DIR/peers/NAME (DIR is ADI_HOME or the platform's data folder) and run inside the sandbox image
only, whose Python is 3.11: so must be the one that installs. Running it again repairs what is not whole.
`--check` asks each for its version inside the container. The image with git that they need is made too.
"""

import argparse
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from agent.settings import directories
from agent.suite_peer_kinds import KINDS, PEER
from agent.suite_peers import GIT, folder_of
from sandbox.docker import DockerSandbox, connect
from sandbox.errors import SandboxError
from sandbox.images import ensure, ensure_image, extended
from sandbox.packing import pack

PINS = {
    "aider": ("aider-chat==0.86.2",),  # it pins all that it needs itself
    "mini": ("mini-swe-agent==2.4.6", "litellm==1.106.2"),
}
PYTHON = (3, 11)
"""That of the sandbox image, Debian 12."""
DONE = "installed.json"
NICE = ("nice", "-n", "19")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def install(name: str, folder: Path) -> None:
    """Make the environment; a finished one of the same versions is left alone."""
    record = folder / DONE
    if record.is_file() and json.loads(record.read_text())["pins"] == list(PINS[name]):
        say(f"{name}: {', '.join(PINS[name])} is there")
        return
    version = ".".join(map(str, PYTHON))
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    packages = new / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    say(f"{name}: installing {', '.join(PINS[name])}")
    pip = [*NICE, sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    given = ["--only-binary=:all:", "--no-warn-conflicts", "--target", str(packages), "--", *PINS[name]]
    subprocess.run([*pip, *given], check=True)
    # What makes it an environment of its own, as `venv` writes it, for the container's interpreter.
    config = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    (new / "pyvenv.cfg").write_text(config)
    (new / "bin").mkdir()
    (new / "bin" / "python3").symlink_to("/usr/bin/python3")
    found = sorted(path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info"))
    (new / DONE).write_text(json.dumps({"pins": PINS[name], "packages": found}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    say(f"{name}: {len(found)} packages in {folder}")


def check(name: str, folder: Path, image: str) -> bool:
    """Whether the agent starts inside the container, with nothing of this machine but its folder."""
    variables = " ".join(f"{key}={value}" for key, value in KINDS[name].variables.items())
    version = f"from importlib.metadata import version; print(version({KINDS[name].package!r}))"
    python = f"env {variables} {PEER}/bin/python3 -P"
    command = f'{python} -c "{version}" && {python} -m {KINDS[name].module} --help >/dev/null 2>&1'
    with DockerSandbox(pack({"a": b""}), image=image, run_id="peers", mounts={PEER: folder}) as sandbox:
        result = sandbox.run(command, timeout_s=120)
    shown = result.output.decode("utf-8", "replace").strip().splitlines() or [result.detail]
    say(f"{name}: {shown[0]} {'starts' if result.status == 'ok' else 'does not start'} in {image}")
    return result.status == "ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(PINS), help=f"of {', '.join(PINS)}")
    parser.add_argument("--check", action="store_true", help="install nothing, start each in the container")
    parser.add_argument("--home", type=Path, default=directories().data, help="ADI's data folder")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in PINS]:
        parser.error(f"no agent {unknown[0]!r}")
    if sys.version_info[:2] != PYTHON and not given.check:
        parser.error(f"run this with Python {PYTHON[0]}.{PYTHON[1]}, which is the sandbox image's")
    try:
        with closing(connect()) as client:
            ensure_image("python", say, client)
            image = ensure(extended("python", *GIT), say, client)
        for name in given.names:
            folder = folder_of(given.home, name)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not given.check:
                install(name, folder)
        return int(sum(not check(name, folder_of(given.home, name), image) for name in given.names) > 0)
    except SandboxError as error:
        parser.exit(6, f"error: {error.message}\nhint: {error.hint}\n")
    except subprocess.CalledProcessError as error:
        parser.exit(6, f"error: pip failed with exit code {error.returncode}\nhint: run it again\n")


if __name__ == "__main__":
    sys.exit(main())
