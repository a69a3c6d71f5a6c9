"""A memory with recorded runs of every kind, for tests of what is exported of it."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from memory.origin import Origin
from memory.records import Event, RunStarted
from memory.store import Store
from tests import harvest_kit as kit

MIT = Origin(licence="MIT", licence_source="file", author="ada@adi.test")
NAMES = ("gcd", "lcm", "factorial", "fibonacci", "binomial", "totient")


def change(name: str) -> str:
    """A change whose words are its own: no near-duplicate of another name's."""
    lines = "\n".join(f"+    {name}_{word} = {word}({name}, '{word} of {name}')" for word in WORDS)
    path = f"{name}.py"
    head = f"diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n"
    return f"{head}@@ -2,1 +2,{len(WORDS)} @@ def {name}(a, b):\n-    return gcd(a % b, b)\n{lines}\n"


WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def plant(store: Store, events: Iterable[Event], patches: Iterable[bytes], origin: Origin = MIT) -> str:
    """Record a run's events in a store, as they came. Returns its id."""
    first, *rest = (event.payload for event in events)
    assert isinstance(first, RunStarted)
    run_id = store.start_run(first.task, first.model, first.adi_version, origin)
    for patch in patches:
        store.put_artifact(patch)
    for payload in rest:
        store.append(run_id, payload)
    return run_id


def fill(store: Store, repos: int = 2) -> dict[str, str]:
    """Runs of six kinds in so many repositories: run id -> kind."""
    found = dict[str, str]()
    for number in range(repos):
        repo = f"/src/maths{number}"
        for hours, (kind, name) in enumerate(zip(KINDS, NAMES, strict=True)):
            told = {
                "repo": repo,
                "prompt": f"make the {name} of library {number} right for {WORDS[hours]} arguments",
                "diff": change(f"{name}{number}"),
                "at": kit.BEGIN + timedelta(hours=hours),
            }
            if kind == "edited":
                told["to"] = change(f"{name}{number}").replace("eighth", "8")
            story = getattr(kit, kind)(**told)
            found[plant(store, story.events, story.patches.values())] = kind
    return found


KINDS = ("solved_by_hand", "rejected", "edited", "auto_accepted", "failed", "undone")


def memory(home: Path, repos: int = 2) -> dict[str, str]:
    """The same, in the memory of an ADI_HOME."""
    with Store.open(home / "adi.db") as store:
        return fill(store, repos)
