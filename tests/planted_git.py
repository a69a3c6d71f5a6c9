"""A repository full of programs for git to run, each of which leaves a mark with its name when it runs.

The lists are those of githooks(5), gitattributes(5) and git-config(1) of git 2.39 to 2.50.
"""

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HOOKS = (
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit",
    "prepare-commit-msg", "commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge",
    "pre-push",
    "pre-receive", "update", "proc-receive", "post-receive", "post-update", "reference-transaction",
    "push-to-checkout", "pre-auto-gc", "post-rewrite", "sendemail-validate", "fsmonitor-watchman",
    "p4-changelist", "p4-prepare-changelist", "p4-post-changelist", "p4-pre-submit", "post-index-change",
)  # fmt: skip

DRIVERS = (
    "filter.x.clean", "filter.x.smudge", "filter.y.process", "diff.external", "diff.x.command",
    "diff.z.textconv", "merge.x.driver", "mergetool.x.cmd", "difftool.x.cmd",
)  # fmt: skip
ATTRIBUTES = "*.py filter=x diff=x merge=x\n*.txt filter=y merge=x\n*.md diff=z\n"

HELPERS = (
    "core.sshCommand", "core.gitProxy", "core.alternateRefsCommand", "core.askPass", "core.pager",
    "core.editor",
    "sequence.editor", "credential.helper", "gpg.program", "gpg.ssh.program", "gpg.x509.program",
    "gpg.ssh.defaultKeyCommand", "interactive.diffFilter", "uploadpack.packObjectsHook",
    "remote.local.uploadpack", "remote.local.receivepack", "trailer.x.command", "trailer.y.cmd",
    "sendemail.sendmailCmd", "sendemail.toCmd", "browser.x.cmd", "man.x.cmd", "guitool.x.cmd", "pager.status",
    "pager.diff", "pager.log", "web.browser",
)  # fmt: skip
SHELL_HELPERS = (
    "alias.status", "alias.diff", "alias.ls-files", "alias.config", "alias.evil", "submodule.nested.update",
)  # fmt: skip
"""Keys whose value is a shell command after `!`."""
SWITCHES = {
    "filter.x.required": "true",
    "commit.gpgSign": "true",
    "log.showSignature": "true",
    "merge.default": "x",
    "diff.tool": "x",
    "merge.tool": "x",
    "protocol.ext.allow": "always",
    "fetch.recurseSubmodules": "true",
    "submodule.recurse": "true",
    "submodule.active": ".",
    "remote.ssh.url": "ssh://nowhere.invalid/x",
}

PLACES = ("config", "config.worktree", "include", "includeIf", "home", "environment")
"""Where configuration can come from."""


@dataclass(frozen=True, slots=True)
class Bait:
    """A folder with the programs, and one with the marks that they leave."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "ran").mkdir()

    def program(self, name: str) -> Path:
        """A program that leaves a mark; a driver passes its input on."""
        path = self.folder / "bin" / name
        mark = shlex.quote(str(self.folder / "ran" / name))
        path.write_text(f"#!/bin/sh\n: > {mark}\n{'exec cat' if name in DRIVERS else 'exit 0'}\n")
        path.chmod(0o755)
        return path

    def ran(self) -> set[str]:
        """Names of the programs that ran."""
        return {path.name for path in (self.folder / "ran").iterdir()}

    def keys(self, fsmonitor: str = "") -> dict[str, str]:
        """Configuration that names a program wherever git takes one."""
        values = {key: str(self.program(key)) for key in (*DRIVERS, *HELPERS)}
        values |= {key: f"!{self.program(key)}" for key in SHELL_HELPERS}
        values |= {"remote.ext.url": f"ext::{self.program('remote.ext.url')}", **SWITCHES}
        values["core.fsmonitor"] = fsmonitor or str(self.program("core.fsmonitor"))
        return values

    def hooks(self, folder: Path) -> Path:
        """A folder with every hook."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in HOOKS:
            program = self.program(name)
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(program)
        return folder


def written(path: Path, keys: Mapping[str, str]) -> None:
    """Append keys to a configuration file."""
    lines = []
    for key, value in keys.items():
        section, _, rest = key.partition(".")
        middle, _, last = rest.rpartition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        head = f'{section} "{middle}"' if middle else section
        lines.append(f'[{head}]\n\t{last} = "{quoted}"\n')
    with path.open("a") as file:
        file.write("".join(lines))


def plant(root: Path, keys: Mapping[str, str], place: str, home: Path) -> dict[str, str]:
    """Put the keys where git finds them; gives variables for the environment of whoever runs there."""
    git_dir = root / ".git"
    if place == "config":
        written(git_dir / "config", keys)
    elif place == "config.worktree":
        written(git_dir / "config", {"extensions.worktreeConfig": "true"})
        written(git_dir / "config.worktree", keys)
    elif place == "include":
        written(git_dir / "extra", keys)
        written(git_dir / "config", {"include.path": "extra"})
    elif place == "includeIf":
        written(git_dir / "extra", keys)
        written(git_dir / "config", {f"includeIf.gitdir:{root.parent}/.path": str(git_dir / "extra")})
    elif place == "home":
        home.mkdir(exist_ok=True)
        written(home / ".gitconfig", keys)
        return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "xdg")}
    else:
        pairs = {
            f"GIT_CONFIG_{part}_{n}": text
            for n, pair in enumerate(keys.items())
            for part, text in zip(("KEY", "VALUE"), pair, strict=True)
        }
        return {"GIT_CONFIG_COUNT": str(len(keys)), **pairs}
    return {}


def plain_git(root: Path, environ: Mapping[str, str], commands: Iterable[str]) -> None:
    """What a careless agent would do in this repository; how the commands end is all the same."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_CONFIG_")}
    for command in commands:
        subprocess.run(
            ["timeout", "--kill-after=1", "5", "git", *shlex.split(command)], cwd=root,
            env={"GIT_EDITOR": "true", **kept, **environ}, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip


CARELESS = (
    "status", "diff", "add --all", "commit --no-gpg-sign --message=x", "commit --amend", "log -1 --patch",
    "checkout -b other", "fetch ssh", "fetch local", "evil",
)  # fmt: skip
