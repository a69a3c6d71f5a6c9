"""What the packaged server is told of the machine."""

from pathlib import Path

import pytest

from model.llama import batch, parameters, slots
from model.serving import ServeChoice


@pytest.mark.parametrize(
    ("threads", "together", "read"), [(1, 2, 128), (2, 4, 256), (4, 8, 512), (16, 8, 2048), (64, 8, 2048)]
)
def test_slots_and_batch_follow_the_cores(threads: int, together: int, read: int) -> None:
    assert (slots(threads), batch(threads)) == (together, read)
    told = parameters(ServeChoice(Path("m.gguf"), "m", threads=threads), "token")
    assert told.n_parallel == together
    assert told.cpuparams.n_threads == told.cpuparams_batch.n_threads == threads
    assert told.n_batch == read
    assert told.n_ubatch == min(read, 512)
