"""Case L01: canary keys and personal data in what tools print: out of the store, and out of an export."""

import base64
import json
import random
import socket
import string
from pathlib import Path

import pytest

from agent.percolate import Recorder, recorded
from agent.person import Unattended
from feedback.harvest import harvest
from feedback.personal import Machine, Pseudonyms, load_key
from feedback.scrub import Scrubber
from feedback.walk import texts
from memory.records import ActionEnded, Event, Noted, RunEnded, RunStarted, Stop, Task, UserActed
from memory.store import Store
from tests.agent_kit import BUGGY, MENDED, Script, open_local, open_run, payloads
from tests.conftest import RepoFactory

pytestmark = [pytest.mark.containment]
RNG = random.Random(101)
ALNUM = string.ascii_letters + string.digits


def drawn(length: int, alphabet: str = ALNUM) -> str:
    return "".join(RNG.choices(alphabet, k=length))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


GITHUB = "gh" + "p_" + drawn(36)
SPLIT = "gh" + "o_" + drawn(36)
CODED = "AK" + "IA" + drawn(16, string.ascii_uppercase + "234567")
CANARIES = {
    "aws": "AK" + "IA" + drawn(16, string.ascii_uppercase + "234567"),
    "github": GITHUB,
    "pem": "-----BEGIN RSA PRIVATE"
    + " KEY-----\n"
    + "\n".join(drawn(64) for _ in range(5))
    + "\n-----END RSA PRIVATE"
    + " KEY-----",
    "jwt": f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': drawn(9)})}.{drawn(43)}",
    "env": "Zt7" + drawn(12) + "4",
}
CODE = base64.b64encode(f"id = {CODED} and more".encode()).decode()
LEAK = "\n".join(
    (
        CANARIES["aws"],
        CANARIES["github"],
        CANARIES["pem"],
        CANARIES["jwt"],
        f"DB_PASSWORD={CANARIES['env']}",
        CODE,
    )
)
EMAIL = "jane.doe" + "@" + "corp-mail.de"
PERSONAL = f"by {EMAIL} from 93.184.216.34 in /home/" + "mirabel/src"
OUTPUTS = {
    "leak.txt": f"{LEAK}\n",
    "one.txt": f"begin {SPLIT[:19]}",
    "two.txt": f"{SPLIT[19:]} end",
    "who.txt": PERSONAL,
}
ACTS = (*(f"run cat {name}" for name in OUTPUTS), f"write calc.py\n```python\n{MENDED}```\n", "submit")


def secrets_in(text: str) -> list[str]:
    """Canaries of which a line, or a long part, can be read."""
    parts = {
        name: [line for line in value.splitlines() if "-----" not in line] for name, value in CANARIES.items()
    }
    parts |= {"base64": [CODE, CODED], "split": [SPLIT[19:]]}
    return [name for name, lines in parts.items() if any(line[:24] in text for line in lines)]


def told(events: list[Event]) -> str:
    return "\n".join(place.text for event in events for place in texts(event.payload))


def test_feedback_l01_canaries_in_tool_output(make_repo: RepoFactory, adi_home: Path) -> None:
    """All kinds at once, through a whole session: what ran saw them, what is kept does not show them."""
    repo = make_repo({**BUGGY, **OUTPUTS})
    asked = list[str]()
    script = Script(acts=ACTS)

    def watched(what: object) -> object:
        asked.extend(message.content for message in what.messages)  # type: ignore[attr-defined]
        return script(what)  # type: ignore[arg-type]

    seen = list[Event]()
    with open_local(repo, watched, Unattended(accept=False), listeners=[seen.append]) as session:  # type: ignore[arg-type]
        outcome = session.run(f"make it pass; my token is {GITHUB}", ("python3 test_calc.py",))
        events = session.store.events(outcome.run_id)
        run = harvest(session.store, outcome.run_id)
    assert (outcome.stop, outcome.exit_code) == (Stop.PENDING, 4), "it ends as it does without canaries"
    assert secrets_in("\n".join(asked)) == [*CANARIES, "base64", "split"], (
        "the model was sent what was printed"
    )
    assert secrets_in(told(events)) == secrets_in(told(seen)) == []
    kept = b"".join(path.read_bytes() for path in sorted(adi_home.rglob("adi.db*")))
    assert secrets_in(kept.decode("latin-1")) == []
    ended = [item.payload for item in events if isinstance(item.payload, ActionEnded)]
    marks = "".join(item.observation.output for item in ended)
    for mark in (
        "aws-access-key:1",
        "github-token:2",
        "private-key:1",
        "jwt:1",
        "assigned-password:1",
        "base64-aws-access-key:1",
    ):
        assert f"[REDACTED:{mark}]" in marks
    assert "[REDACTED:github-token-rest:1] end" in marks, "the half that came second"
    assert EMAIL in marks, "personal data stays in the user's own store"
    (note,) = [
        item.payload
        for item in events
        if isinstance(item.payload, Noted) and "look like secrets" in item.payload.text
    ]
    assert "base64-aws-access-key" in note.text
    assert "private-key" in note.text
    started = events[0].payload
    assert isinstance(started, RunStarted)
    assert started.task.prompt.endswith("my token is [REDACTED:github-token:1]")

    scrubber = Scrubber(
        Pseudonyms(load_key(adi_home)), Machine("mirabel", socket.gethostname(), "/home/" + "mirabel")
    )
    clean, counts, why = scrubber.harvest(run)
    left = told(list(clean.events))
    assert secrets_in(left) == []
    assert SPLIT[:19] not in left
    assert not why
    assert not [word for word in (EMAIL, "93.184.216.34", "mirabel", str(repo)) if word in left]
    assert counts["at-write/github-token:action-ended.output"]
    assert counts["email:action-ended.output"]
    assert scrubber.harvest(run)[0].events == clean.events


def test_feedback_l01_a_run_recorded_without_redaction_is_blocked_at_export(make_repo: RepoFactory) -> None:
    """A store from before: the export finds all of it by itself."""
    repo = make_repo({**BUGGY, "calc.py": "x = 1\n"})
    with Store.open(":memory:") as store:
        run_id = store.start_run(Task(id="t", prompt=f"use {GITHUB}", repo=str(repo)))
        diff = f"--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+key = '{CANARIES['aws']}'\n".encode()
        store.put_artifact(diff)
        for text in (LEAK, f"begin {SPLIT[:19]}", f"{SPLIT[19:]} end", PERSONAL):
            store.append(run_id, Noted(text=text))
        store.append(run_id, RunEnded(stop=Stop.FAILED, exit_code=1))
        run = harvest(store, run_id)
    scrubber = Scrubber(Pseudonyms(b"k" * 32), Machine())
    clean, counts, _ = scrubber.harvest(run)
    left = told(list(clean.events))
    assert secrets_in(told(list(run.events))) == [*CANARIES, "base64", "split"]
    assert secrets_in(left) == []
    assert SPLIT[:19] not in left
    assert EMAIL not in left
    assert counts["private-key:noted.text"] == counts["jwt:noted.text"] == 1
    assert counts["github-token:noted.text"] == 3
    assert counts["github-token:run-started.prompt"] == 1


def test_feedback_l01_what_a_person_types_is_redacted_too(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script()) as run:
        run.recorder.emit(UserActed(action="reject", detail=f"no: {GITHUB}"))
        run.note("info", f"{CANARIES['jwt']}", hint=f"DB_PASSWORD={CANARIES['env']}")
        again = Recorder(run.recorder.store, run.recorder.run_id)
        again.emit(Noted(text=SPLIT))
        (acted,), notes = payloads(run, UserActed), payloads(run, Noted)
        assert acted.detail == "no: [REDACTED:github-token:1]"
        assert notes[0].text == "[REDACTED:jwt:1]"
        assert notes[0].hint == "DB_PASSWORD=[REDACTED:assigned-password:1]"
        assert notes[1].text == "[REDACTED:github-token:2]", "a later process knows which numbers are taken"
    task = Task(id="t", prompt=f"use {GITHUB}", repo="/r", checks=run.task.checks)
    assert recorded(task) == task.model_copy(update={"prompt": "use [REDACTED:github-token:1]"})
