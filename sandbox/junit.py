#!/usr/bin/env python3
"""The command `junit` of the Java image: compiles a repository's Java files and runs their JUnit tests.

Build tools are not used: a pom.xml or build.gradle names plugins that only a registry has. Jars inside the
repository and CLASSPATH are on the class path; module declarations are not read. Stack frames are printed
with their file's path in place of its name. After SIGINT (a check's time limit) the threads' stacks are told.
This file runs in the image, by itself; nothing of ADI is imported.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CLASSES = Path("/tmp/junit-classes")
JARS = "/usr/share/java/*"
OUTPUTS = frozenset({"target", "build", "out", "bin", "node_modules"})
"""Folders that build tools fill; those with a leading dot are left out too."""
DUMP_S = 1.0
"""Time for the stacks after SIGINT, in seconds."""
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
FRAME = re.compile(r"([\w.$/@-]{1,300})\.[\w$<>]{1,200}\((\w{1,200}\.java)(?=:\d{1,8}\))")
PACKAGE = re.compile(rb"^\s*package\s+([\w.]+)\s*;", re.M)


def inside() -> list[Path]:
    """Files below the current directory, without what builds and tools put there."""
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(name for name in folders if name not in OUTPUTS and not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names)]
    return found


def sources(files: Sequence[Path]) -> list[Path]:
    """The Java files; where Maven's folders are, only those."""
    java = [path for path in files if path.suffix == ".java" and path.name != "module-info.java"]
    usual = [path for path in java if "src/main/java/" in str(path) or "src/test/java/" in str(path)]
    return usual or java


def class_path(files: Sequence[Path]) -> str:
    """Classes, resources, the repository's jars, what the environment names, and JUnit."""
    resources = {Path(*path.parts[: path.parts.index("resources") + 1]) for path in files
                 if "src/main/resources/" in str(path) or "src/test/resources/" in str(path)}  # fmt: skip
    jars = [path for path in files if path.suffix == ".jar"]
    own = [str(path.resolve()) for path in (*sorted(resources), *jars)]
    given = os.environ.get("CLASSPATH", "")
    return ":".join([str(CLASSES), *own, *([given] if given else []), JARS])


def compiled(java: Sequence[Path], path: str) -> bool:
    """Compile into CLASSES; javac tells what is wrong, each place with its file's path."""
    shutil.rmtree(CLASSES, ignore_errors=True)
    CLASSES.mkdir()
    names = CLASSES.with_suffix(".files")
    names.write_text("".join(f'"{name}"\n' for name in java))
    options = ("-g", "-nowarn", "-encoding", "UTF-8", "-Xmaxerrs", "50")
    quick = [f"-J{option}" for option in QUICK]
    return (
        subprocess.run(["javac", *quick, *options, "-cp", path, "-d", CLASSES, f"@{names}"]).returncode == 0
    )


def places(java: Sequence[Path]) -> dict[str, str]:
    """Paths of files by the name that their package gives them, such as `org/x/Adder.java`."""
    found = {}
    for path in java:
        declared = PACKAGE.search(path.read_bytes())
        folder = declared[1].decode().replace(".", "/") + "/" if declared else ""
        found[folder + path.name] = str(path)
    return found


def placed(line: str, known: Mapping[str, str]) -> str:
    """The line with the path of each frame's file."""

    def path(match: re.Match[str]) -> str:
        package, _, _ = match[1].rpartition("/")[2].rpartition(".")
        folder = package.replace(".", "/") + "/" if package else ""
        full = known.get(folder + match[2], match[2])
        return match[0].removesuffix(match[2]) + full

    return FRAME.sub(path, line)


def run(java: Sequence[Path], path: str) -> int:
    """Run all tests of CLASSES; the runner's exit code: 1 for failures, 2 when there are no tests."""
    known = places(java)
    launcher = ("org.junit.platform.console.ConsoleLauncher", f"--scan-classpath={CLASSES}")
    options = ("--include-classname=.*", "--fail-if-no-tests", "--disable-banner", "--disable-ansi-colors")
    # A session of its own: SIGINT goes to all of a group, and the JVM would end without a word.
    with subprocess.Popen(
        ["java", "-ea", *QUICK, "-cp", path, *launcher, *options, "--details=tree"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None

        def tell_and_end(*_: object) -> None:
            process.send_signal(signal.SIGQUIT)
            signal.signal(signal.SIGALRM, lambda *_: process.kill())
            signal.setitimer(signal.ITIMER_REAL, DUMP_S)

        signal.signal(signal.SIGINT, tell_and_end)
        for raw in process.stdout:
            sys.stdout.write(placed(raw.decode("utf-8", "backslashreplace"), known))
            sys.stdout.flush()
        status = process.wait()
    return status if status >= 0 else 128 - status


def main() -> int:
    """Compile and run; 1 when something fails, 2 when there is nothing to run."""
    files = inside()
    java = sources(files)
    if not java:
        sys.stderr.write("no Java files\n")
        return 2
    path = class_path(files)
    return run(java, path) if compiled(java, path) else 1


if __name__ == "__main__":
    sys.exit(main())
