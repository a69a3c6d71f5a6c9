"""Harbor task folders (Terminal-Bench 2): `task.toml` 1.x, `instruction.md`, and tests that only graders see.

A task's environment is an image of its own, which ADI does not build: the item works on a local repository
of the task's or its folder's name (below --repos, or --repo). Tasks of several steps are named as bad.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.backlog_files import Unreadable, text_of
from agent.backlog_item import Bad, reason
from agent.backlog_repos import Found

TOML: Final = "task.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Task(_Part):
    name: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()


class _Timed(_Part):
    timeout_sec: float | None = Field(default=None, gt=0)


class _Environment(_Part):
    docker_image: str = ""
    workdir: str = ""
    network_mode: str = ""


class Harbor(_Part):
    """The subset of `task.toml` that an item needs."""

    schema_version: str = "1.0"
    version: str = ""
    """What early files call it."""
    task: _Task = _Task()
    agent: _Timed = _Timed()
    verifier: _Timed = _Timed()
    environment: _Environment = _Environment()
    steps: tuple[dict[str, Any], ...] = ()


def is_task(folder: Path) -> bool:
    """True for a task's folder."""
    return (folder / TOML).is_file()


def tasks_in(folder: Path) -> list[Path]:
    """The folder itself, or those below it that are tasks, in the order of their names."""
    if is_task(folder):
        return [folder]
    return sorted(file.parent for file in folder.glob(f"*/{TOML}"))


def read_folder(folder: Path, *, grading: bool) -> Iterator[Found | Bad]:
    """The tasks of a folder."""
    root = folder.parent if is_task(folder) else folder
    for task in tasks_in(folder):
        yield read_task(task, root, grading=grading)


def read_task(task: Path, root: Path, *, grading: bool) -> Found | Bad:
    """One task. `root` is the folder that no file of it may lead out of."""
    name = task.name or task.resolve().name
    where = f"{name}/{TOML}"
    try:
        if task.is_symlink():
            raise Unreadable("is in a folder that is a link, not followed")
        told = Harbor.model_validate(tomllib.loads(text_of(task / TOML, root)))
        where, text = f"{name}/instruction.md", ""
        if not told.steps:
            text = text_of(task / "instruction.md", root).strip()
        return _found(task, name, told, text, grading)
    except tomllib.TOMLDecodeError as error:
        return Bad(where=where, why=f"is not TOML: {error}")
    except RecursionError:
        return Bad(where=where, why="is nested too deeply")
    except ValidationError as error:
        return Bad(where=where, why=reason(error))
    except Unreadable as error:
        return Bad(where=where, why=str(error))


def _found(task: Path, name: str, told: Harbor, text: str, grading: bool) -> Found | Bad:
    version = told.version or told.schema_version
    if version.partition(".")[0] != "1":
        return Bad(where=f"{name}/{TOML}", why=f"is of version {version[:20]!r}; ADI reads 1.x")
    if told.steps:
        return Bad(where=f"{name}/{TOML}", why="has several steps, which ADI does not run")
    if not text:
        return Bad(where=f"{name}/instruction.md", why="is empty")
    meta: dict[str, Any] = {
        "kind": "harbor",
        "project": told.task.name,
        "timeout_s": told.agent.timeout_sec,
        "image": told.environment.docker_image,
        "network": told.environment.network_mode,
    }
    if grading:
        meta["grading"] = {"tests": str((task / "tests").resolve()), "timeout_s": told.verifier.timeout_sec}
    title = told.task.description.strip().split("\n")[0] or text.split("\n")[0].lstrip("# ").strip() or name
    return Found(
        where=f"{name}/{TOML}",
        project=told.task.name or name,
        values={
            "key": told.task.name or name,
            "title": title if len(title) <= 200 else f"{title[:199]}…",
            "body": text,
            "labels": told.task.keywords,
            "meta": meta,
        },
    )
