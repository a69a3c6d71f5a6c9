"""Group H at the model's files: what was only half written is never served."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model import adapter_add
from model.errors import ModelMissing
from model.pull import pull
from tests.adapter_kit import Home
from tests.test_model_store import WHOLE, left_over, send, store_of, web

ROOT = Path(__file__).parent.parent

PULLS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from model import partial, pull
from tests.test_model_store import store_of
point = sys.argv[4]
owner, name = (partial.Partial, point) if hasattr(partial.Partial, point) else (pull, point)
real, calls = getattr(owner, name), []

def dies(*arguments, **named):
    calls.append(1)
    if len(calls) == (2 if point == "append" else 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)

setattr(owner, name, dies)
pull.pull(store_of(Path(sys.argv[2]), url=sys.argv[3]), "m")
"""


def _dies_at(home: Home, folder: Path, owner: object, name: str, call: int) -> None:
    """Adds an adapter in a process that is killed before the given call of a function."""
    real, calls = getattr(owner, name), list[int]()

    def dies(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, dies)
    home.add(folder)


@pytest.mark.containment
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (shutil, "copyfile", 1),
        (adapter_add, "write_gguf", 1),
        (adapter_add, "Manifest", 1),
        (adapter_add, "sync", 3),
        (Path, "rename", 1),
        (adapter_add, "sync", 5),
    ],
)
def test_model_h09_an_adapter_that_is_half_written(
    tmp_path: Path, owner: object, name: str, call: int
) -> None:
    """`kill -9` while a trained adapter is taken in: it is there whole or not at all, the old one serves."""
    home = Home(tmp_path)
    old = home.add(home.trained(seed=1)).name
    home.store.promote(old, reason="a test", force=True)
    folder = home.trained(seed=2)
    process = multiprocessing.get_context("fork").Process(
        target=_dies_at, args=(home, folder, owner, name, call)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    left = [home.store.check(one).name for one in home.store.names()]
    assert len(left) == (2 if call == 5 else 1), "the last one dies when all is written"
    assert home.store.current(home.base.sha256) == old
    made = home.add(folder).name
    assert sorted(home.store.names()) == sorted({old, made})
    assert not [*home.store.folder.glob(".new-*")]


@pytest.mark.parametrize("point", ["append", "flush", "is_right", "publish"])
def test_a_pull_killed_at_a_point_is_never_served_and_continues(tmp_path: Path, point: str) -> None:
    """`kill -9` while bytes arrive, before they are synced, verified, or get their name."""
    store = store_of(tmp_path)
    with web(lambda handler: send(handler, WHOLE)) as (url, asked):
        command = [sys.executable, "-c", PULLS, str(ROOT), str(tmp_path), f"{url}/m", point]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not [name for name in left_over(store) if not name.startswith(".m.partial")]
        with pytest.raises(ModelMissing) as caught:
            store.find("m")
        assert caught.value.hint == "adi model pull m"
        found = pull(store_of(tmp_path, url=f"{url}/m"), "m")
    assert found.path.read_bytes() == WHOLE
    assert left_over(store) == ["m.gguf"]
    assert len(asked) <= 2
