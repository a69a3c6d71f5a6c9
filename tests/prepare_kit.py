"""What tests of the installing step share: files in memory, steps of a case's own, a look inside."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from sandbox.dependencies import Wanted
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.prepare import PrepareLimits, Step
from sandbox.prepared import remove, tag_of
from sandbox.registries import parse
from tests.containment_kit import LIMITS, Contained, pack

ROOM = PrepareLimits(room_bytes=64 * 1024**2, memory_bytes=512 * 1024**2, install_s=90)


class Texts:
    """Dependency files in memory."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = {name: text.encode() for name, text in files.items()}

    def paths(self) -> list[str]:
        return sorted(self.files)

    def read(self, path: str) -> bytes:
        return self.files[path]


def step_of(contained: Contained, wanted: Wanted, registries: list[str], base: str = "") -> Step:
    """A step with a tag of the case's own: the key holds the index's port."""
    assert contained.client is not None
    base = base or recipe("python").tag
    tag = tag_of(wanted.key(base, [*registries, contained.run_id]))
    return Step(
        contained.client, base, tag, wanted, parse(registries), contained.run_id, limits=ROOM
    )  # fmt: skip


@contextmanager
def kept(step: Step) -> Iterator[str]:
    """The step's image, removed again."""
    try:
        step.run()
        yield step.tag
    finally:
        remove(step.client, step.tag)


def inside(contained: Contained, image: str, command: str) -> str:
    """Output of a command in a usual sandbox of the image."""
    with DockerSandbox(
        pack({"a.py": b""}),
        image=image,
        run_id=contained.run_id,
        limits=replace(LIMITS, output_bytes=65536),
        client=contained.client,
    ) as made:
        result = made.run(command, timeout_s=20)
    return result.output.decode()
