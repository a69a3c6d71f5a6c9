"""Group H at the model's files: what was only half written is never served."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.errors import ModelMissing
from model.pull import pull
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


@pytest.mark.containment
def test_model_h09_training_that_is_killed() -> None:
    pytest.skip("no training yet: ADI has no command that trains, so no adapter can be half written")


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
