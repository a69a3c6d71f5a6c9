"""Group F in whole runs: odd bytes, odd names, what no model can read, and text that breaks programs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.display import Display, make_console
from agent.person import Unattended
from memory.records import ActionEnded, Completed, Noted, Stop
from memory.store import Store
from model.errors import ModelError
from model.scripted import Asked
from tests.adi_kit import ADI, FILES, mends
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, PYTHON, TEST, Script, open_local
from tests.conftest import RepoFactory, git
from tests.openai_server import Bytewise, serve
from tools.arguments import clean_path, spelled

pytestmark = [pytest.mark.containment, pytest.mark.usefixtures("scripted")]

MENDS = Script(lines={"calc.py line 2": "return a + b"})
YES = Unattended(accept=True)
CHECKS = (CHECK.command,)
LATIN = "# -*- coding: latin-1 -*-\nname = 'Zo\xeb'\n".encode("latin-1")
BESIDE = {
    "utf16.txt": "text\r\nmore\n".encode("utf-16"),
    "invalid.txt": b"\xff\xfe\xfa\r\n\0\x80",
    "cr.txt": b"one\rtwo\r",
    "nel.txt": "a\u2028b\x85c\x0cd".encode(),
}


@dataclass
class Listening(Script):
    """A script that also keeps everything the model was shown."""

    heard: list[str] = field(default_factory=list)

    def __call__(self, question: Asked) -> str | ModelError | Sequence[str]:
        self.heard += [message.content for message in question.messages]
        self.heard += [question.prefix, question.suffix] if not question.messages else []
        return super().__call__(question)


def changed_lines(patch: bytes) -> list[bytes]:
    """Lines that a patch takes away or adds."""
    return [
        line for line in patch.split(b"\n") if line[:1] in (b"-", b"+") and line[:4] not in (b"--- ", b"+++ ")
    ]


@pytest.mark.parametrize(
    ("case", "head", "tail", "endings"),
    [
        ("crlf", b"", b"", "\r\n,\r\n"),
        ("mixed", b"one = 1\r\ntwo = 2\n", b"\nlast = 1\r\n", "\r\n,\n"),
        ("mixed the other way", b"one = 1\n", b"\r\n", "\n,\r\n"),
        ("no final newline", b"", None, "\n,\n"),
        ("bom", b"\xef\xbb\xbf", b"", "\n,\n"),
        ("bom crlf no newline", b"\xef\xbb\xbf", None, "\r\n,\r\n"),
        ("form feed", b"\x0c\n", b"\n\n\n", "\n,\n"),
        ("latin-1", LATIN, b"", "\n,\n"),
    ],
)
@pytest.mark.parametrize("way", ["search", "actions"])
def test_agent_f02_line_endings_stay(
    make_repo: RepoFactory, case: str, head: bytes, tail: bytes | None, endings: str, way: str
) -> None:
    """CRLF, mixed endings, BOM, no final newline: the diff shows the edit only, whoever made it."""
    first, second = endings.split(",")

    def made(text: str) -> bytes:
        top, body = text.splitlines()
        return head + f"{top}{first}{body}".encode() + (b"" if tail is None else second.encode() + tail)

    before = made(CALC)
    line = before.replace(b"\r\n", b"\n").split(b"\n").index(b"    return a - b") + 1
    edit = f"edit calc.py {line}-{line}\n```\n    return a + b\n```"
    script = Script(acts=["read calc.py", edit])
    if way == "search":
        script = Script(lines={f"calc.py line {line}": "return a + b"})
    repo = make_repo({**BUGGY, **BESIDE, "calc.py": before})
    with open_local(repo, script, YES, settings={"sampling": way == "search"}) as session:
        outcome = session.run("mend it", CHECKS)
        assert outcome.stop is Stop.ACCEPTED
        patch = session.store.artifact(session.store.run(outcome.run_id).diff_sha256)
        assert len(changed_lines(patch)) == 2, case
        assert (repo / "calc.py").read_bytes() == made(MENDED)
        assert {name: (repo / name).read_bytes() for name in BESIDE} == BESIDE
        assert session.undo(None).exit_code == 0
        assert (repo / "calc.py").read_bytes() == before


@pytest.mark.parametrize("path", ["latin.py", "raw.txt"])
def test_agent_f01_bytes_that_are_no_utf8(make_repo: RepoFactory, path: str) -> None:
    """Latin-1 and invalid bytes elsewhere in the edited file stay; UTF-16 is not edited, and that is said."""
    before = {
        "latin.py": LATIN + CALC.encode(),
        "raw.txt": b"\xff\xfa\x80 \xed\xa0\x80\r\n\xc3(\n    return a - b\n",
    }
    line = 4 if path == "latin.py" else 3
    acts = [
        "read utf16.txt",
        f"read {path}",
        f"edit {path} {line}-{line}\n```\n    return a + b\n```",
        "submit",
    ]
    test = f"import pathlib\n\nassert b'a + b' in pathlib.Path({path!r}).read_bytes()\n"
    repo = make_repo({**BESIDE, **before, "test_calc.py": test})
    with open_local(repo, Script(acts=acts), YES, settings={"sampling": False}) as session:
        outcome = session.run("mend it", CHECKS)
        assert outcome.stop is Stop.ACCEPTED
        said = [event.payload for event in session.store.events(outcome.run_id)]
    told = [payload.observation.output for payload in said if isinstance(payload, ActionEnded)]
    assert told[0].startswith(f"utf16.txt is not shown: it is UTF-16 text ({len(BESIDE['utf16.txt'])} bytes)")
    assert (repo / path).read_bytes() == before[path].replace(b"a - b", b"a + b")
    assert {name: (repo / name).read_bytes() for name in BESIDE} == BESIDE


SECRET = "NEVER_TO_BE_SHOWN"


def test_agent_f03_what_no_model_can_read(make_repo: RepoFactory) -> None:
    """Named by the task, in frames of failing tests, and asked for by the model: told by kind and size."""
    word = SECRET.encode()
    files = {
        "logo.png": b"\x89PNG\r\n\x1a\n\0" + word * 9,
        "photo.jpg": b"\xff\xd8\xff" + word * 9,
        "nul.py": b"x = 1\n\0" + word + b"\n",
        "bundle.js": b"var a=1;" + word * 9000 + b";",
        "wide.py": f"x = '{SECRET}'\n".encode("utf-16"),
    }
    repo = make_repo({**BUGGY, **files})
    with (repo / "large.py").open("wb") as file:
        file.write(word + b"\n")
        file.truncate(200 * 1000**2)
    reads = [f"read {name}" for name in (*files, "large.py")]
    edit = "edit calc.py 2-2\n```\n    return a + b\n```"
    plan = f"- Use them | files: {', '.join([*files, 'large.py'])} | check: {CHECK.name}\n"
    script = Listening(plan=plan, acts=[*reads, f"search {SECRET}", "search /var a=/", "read calc.py", edit])
    with open_local(repo, script, YES, settings={"sampling": False}) as session:
        outcome = session.run(f"mend calc.py with {', '.join(files)} and large.py", CHECKS)
        assert outcome.stop is Stop.ACCEPTED
        events = [event.payload for event in session.store.events(outcome.run_id)]
    told = "\n".join(script.heard)
    for name, kind in (
        ("logo.png", f"a PNG image ({len(files['logo.png'])} bytes)"),
        ("photo.jpg", f"a JPEG image ({len(files['photo.jpg'])} bytes)"),
        ("nul.py", f"a binary file ({len(files['nul.py'])} bytes)"),
        ("wide.py", f"UTF-16 text ({len(files['wide.py'])} bytes)"),
        ("large.py", "too large (200.00 MB)"),
    ):
        assert f"{name} is not shown: it is {kind}" in told
    assert f"bundle.js is not shown: it has lines of up to {len(files['bundle.js'])} bytes" in told
    assert (
        f"bundle.js holds it, but is not shown: it has lines of up to {len(files['bundle.js'])} bytes" in told
    )
    assert told.replace(f"search {SECRET}", "").replace(f"search /{SECRET}/", "").count(SECRET) == 0
    assert max(map(len, script.heard)) < 20_000
    assert any(isinstance(item, Noted) and "logo.png is not shown" in item.text for item in events)


def test_agent_f03_suspects_are_text(make_repo: RepoFactory) -> None:
    """The search for a repair looks into no minified or binary file, though the failing test names it."""
    files = {"calc.js": b"var " + SECRET.encode() * 3000, "calc.rb": b"\0" + SECRET.encode()}
    test = TEST + "raise SystemExit('calc.js calc.rb')\n"
    repo = make_repo(
        {**BUGGY, **files, "test_calc.py": test.replace(", add(2, 3)", ", 'calc.js:1 calc.rb:1'")}
    )
    script = Listening(acts=["submit"] * 9)
    with open_local(repo, script, YES) as session:
        session.run("mend calc", CHECKS)
    assert script.heard
    assert SECRET not in "\n".join(script.heard)


NAMES = [
    "with space", 'it\'s "quoted" $HOME `id` \\ ;&|', "-rf", "*.py", "zoë-日本", "emoji \U0001f600\u200d",
    "new\nline", "rtl\u202egnp", "tab\tbell\a\x1b[31m", "nbsp\xa0x", " lead and trail ", '"', "x 12",
    "n" * 252, "\u00fc" * 126, "u\u0308", "a\u2028b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_agent_f04_names(make_repo: RepoFactory, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Listed, read, edited and applied under the name as it is; shown with nothing hidden."""
    path = f"{name}.py"
    shown = spelled(path)
    assert clean_path(shown) == path
    assert shown.isprintable()
    test = f"space = {{}}\nexec(open({path!r}).read(), space)\nassert space['add'](2, 3) == 5\n"
    repo = make_repo({path: CALC, "test_calc.py": test})
    edit = f"edit {shown} 2-2\n```\n    return a + b\n```"
    script = Listening(plan=f"- Mend | files: {shown} | check: {CHECK.name}\n", acts=[f"read {shown}", edit])
    with (
        Display(make_console(sys.stderr, "never"), verbosity=1) as display,
        open_local(repo, script, YES, listeners=[display.on_event], settings={"sampling": False}) as session,
    ):
        outcome = session.run("mend it", CHECKS)
        assert outcome.stop is Stop.ACCEPTED, outcome.detail
        assert (repo / path).read_bytes() == MENDED.encode()
        assert git(repo, "status", "--porcelain", "-z").count("\0") == 1
        assert session.undo(None).exit_code == 0
    assert (repo / path).read_bytes() == CALC.encode()
    told = "\n".join(script.heard)
    listing = told.partition("The repository:\n")[2].partition("\n\n")[0].splitlines()
    assert {shown, "test_calc.py"} <= set(listing), listing
    assert f"{shown} lines 1-2 of 2:" in told
    captured = capsys.readouterr()
    assert not set(captured.out + captured.err) & set("\u202e\u200d\u2028\x1b\a\t")


@pytest.mark.parametrize("way", ["folder", "repository"])
@pytest.mark.parametrize("name", NAMES[:5], ids=range(5))
def test_agent_f04_names_of_folders(make_repo: RepoFactory, name: str, way: str) -> None:
    repo = make_repo(
        {
            f"{name}/calc.py": CALC,
            "test_calc.py": f"import sys\n\nsys.path.insert(0, {name!r})\n{TEST}",
        },
        name=name if way == "repository" else "repo",
    )
    script = Script(lines={f"{name}/calc.py line 2": "return a + b"})
    with open_local(repo, script, YES) as session:
        assert session.run("mend calc.py", CHECKS).stop is Stop.ACCEPTED
        assert (repo / name / "calc.py").read_text() == MENDED
        assert session.undo(None).exit_code == 0
    assert git(repo, "status", "--porcelain") == ""


ODD = "lone \ud800 half \udfff, NUL \0, line \u2028 paragraph \u2029, \x85, \x1b]0;t\x07, \ufeff, \U0001f600"
PRINTS = """import sys
for part in (b'\\xed\\xa0\\x80 \\0 \\xe2\\x80\\xa8 \\xf0\\x9f\\x98', b'\\x80 \\xff\\n'):
    sys.stdout.buffer.write(part)
    sys.stdout.flush()
"""


def strings(value: object) -> list[str]:
    """Every string of a JSON value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_agent_f05_text_that_breaks_programs(make_repo: RepoFactory, adi_home: Path) -> None:
    """From the model, the task and a command: in the store as it came, replayed, and one JSON object."""
    repo = make_repo({**BUGGY, "prints.py": PRINTS})
    edit = "edit calc.py 2-2\n```\n    return a + b\n```"
    acts = [f"# {ODD}\nrun {PYTHON} prints.py", f"no action {ODD}", "read calc.py", edit]
    with open_local(repo, Script(acts=acts), YES, settings={"sampling": False}) as session:
        outcome = session.run(f"mend it {ODD}", CHECKS)
        assert outcome.stop is Stop.ACCEPTED
        live = session.store.events(outcome.run_id)
    with Store.open(adi_home / "adi.db") as store:
        again = store.events(outcome.run_id)
        assert again == live
        assert store.run(outcome.run_id).prompt == f"mend it {ODD}"
    texts = [event.payload.completion.text for event in again if isinstance(event.payload, Completed)]
    assert [text for text in texts if ODD in text] == acts[:2]
    outputs = [event.payload.observation.output for event in again if isinstance(event.payload, ActionEnded)]
    assert any("\\xed\\xa0\\x80" in text and "\U0001f600" in text and "\\xff" in text for text in outputs)
    ways = (["replay", outcome.run_id], ["show", outcome.run_id], ["log"])
    for arguments in (*ways, *([*way, "--json"] for way in ways[1:])):
        done = subprocess.run([*ADI, *arguments], cwd=repo, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        out = done.stdout.decode("utf-8")
        assert not set(out) & set("\0\u2028\u2029\x85\x1b\x07\ufeff")
        if "--json" in arguments:
            assert f"mend it {ODD}" in strings(json.loads(out))


@pytest.mark.container
def test_agent_f05_streams_cut_in_the_middle_of_a_character(make_repo: RepoFactory, adi_home: Path) -> None:
    """One byte a packet, surrogates in two events: whole again; every line of the export is JSON."""
    repo = make_repo(FILES)
    plan = "- Use \u2028 zo\xeb \u65e5\u672c \U0001f600\U0001f525 | files: calc.py | check: pytest\n"
    script = mends()

    def answer(asked: Asked) -> object:
        return Bytewise(plan) if "Write the plan" in asked.messages[-1].content else script(asked)

    with serve(answer) as url:
        arguments = ["run", "mend it", "--yes", "--url", url, "--output-format", "stream-json"]
        done = subprocess.run([*ADI, *arguments], cwd=repo, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert json.loads(lines[-1])["subtype"] == "success"
    said = [text for line in lines for text in strings(json.loads(line))]
    assert plan in said
    with Store.open(adi_home / "adi.db") as store:
        events = store.events(store.runs()[0].id)
    texts = [event.payload.completion.text for event in events if isinstance(event.payload, Completed)]
    assert plan in texts
