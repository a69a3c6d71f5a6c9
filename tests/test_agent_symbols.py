"""What a task's text names: definitions, ranked; without any failing test the right file comes first."""

import pytest

from agent.localize import suspects
from agent.symbols import mentioned
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory

FILES: dict[str, str | bytes] = {
    "pkg/__init__.py": "from pkg.text import quote\n",
    "pkg/text.py": (
        "def quote(args):\n    return ' '.join(escape(arg) for arg in args)\n\n\n"
        "def escape(arg):\n    return arg\n\n\ndef split(text, size):\n    return text\n"
    ),
    "pkg/cache.py": (
        "class LRU:\n    def __init__(self, size=3):\n        self.size = size\n\n"
        "    def set(self, key, value):\n        return value\n\n"
        "    def get(self, key):\n        return key\n\n\n"
        "class Small(LRU):\n    def get(self, key):\n        return None\n"
    ),
    "pkg/tree.py": "class Tree:\n    def get(self, key):\n        return key\n",
    "web/app.ts": "export class App {\n  render(name: string): string {\n    return name;\n  }\n}\n",
    "tests/test_text.py": "from pkg import quote\n\n\ndef test_quote():\n    assert quote([])\n",
}


def files_of(make_repo: RepoFactory) -> WorkCopy:
    repo = make_repo(FILES)
    return WorkCopy(snapshot(repo, repo.parent / "shadow"))


@pytest.mark.parametrize(
    ("prompt", "path", "name"),
    [
        ("`text.quote` fails. The size and the set of keys are right.", "pkg/text.py", "quote"),
        ("LRU.set does not move the key to the end of the cache", "pkg/cache.py", "set"),
        ("Wrong result:\n\n    >>> tree.get(3)\n\nI have a Tree", "pkg/tree.py", "get"),
        ("Calling split(text, 0) never ends", "pkg/text.py", "split"),
        ("`App.render` does not escape", "web/app.ts", "render"),
    ],
)  # fmt: skip
def test_the_named_function_comes_first(make_repo: RepoFactory, prompt: str, path: str, name: str) -> None:
    files = files_of(make_repo)
    first = mentioned(files, prompt)[0]
    assert (first.path, first.span.name) == (path, name)
    (suspect, *_) = suspects(files, [], prompt)
    assert suspect.path == path
    assert suspect.functions[0].name == name
    assert suspect.functions[0].first <= suspect.lines[0] <= suspect.functions[0].last


def test_callees_and_constructors_are_named_faintly(make_repo: RepoFactory) -> None:
    files = files_of(make_repo)
    ranked = [item.span.name for item in mentioned(files, "`quote` is wrong")]
    assert ranked[:2] == ["quote", "escape"]
    called = {
        (item.span.owner, item.span.name): item.weight for item in mentioned(files, "`LRU(size=0)` hangs")
    }
    assert called["", "LRU"] > called["LRU", "__init__"] > called["", "Small"] > 0


def test_what_follows_a_code_line_is_prose_again(make_repo: RepoFactory) -> None:
    said = "Wrong:\n\n    >>> quote([])\n\nIt is a set of words, and they split."
    weights = {item.span.name: item.weight for item in mentioned(files_of(make_repo), said)}
    assert weights["quote"] > 1 > weights["split"] > 0


def test_a_text_that_names_nothing_has_no_mentions(make_repo: RepoFactory) -> None:
    assert mentioned(files_of(make_repo), "Please make everything better.") == []
