"""Plants made-up secrets in texts as runs record them; counts what is found, and what is found in clean code.

Usage: python -m benchmarks.planted_secrets [--seed N] [--cases N] [--clean FOLDER]...

Each case is a secret of one kind in one carrier: tool output, diff, message, JSON, YAML, shell, base64,
escaped text, numbered lines, or split over two turns. It goes the way of a recorded run, through the
redaction at write and that at export. It is caught when no eight characters of its value in a row (six where
it is short) can be read in what comes out. Secrets are written as their services do, not by the expressions
that look for them. Clean code is counted in false alarms per million characters; without --clean that is
Python's standard library without its tests, which hold keys on purpose, and this project's own sources.
"""

import argparse
import base64
import json
import random
import string
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.harvest import Harvest
from feedback.personal import Pseudonyms
from feedback.scrub import Redactor, Scrubber
from feedback.secrets import find
from memory.records import ActionEnded, Event, Observation, RunStarted, Status, Task

ROOT: Final = Path(__file__).parent.parent
ALNUM: Final = string.ascii_letters + string.digits
DIGITS: Final = string.digits
HEX: Final = "0123456789abcdef"
B64: Final = ALNUM + "+/"
URL64: Final = ALNUM + "-_"
BASE32: Final = string.ascii_uppercase + "234567"
FEWEST: Final = 200


@dataclass(frozen=True, slots=True)
class Secret:
    """A made-up secret."""

    kind: str
    text: str
    """As it is written where it is kept: a token, `NAME=value`, a block of lines."""
    value: str
    """The part of it that nobody may see."""


@dataclass(frozen=True, slots=True)
class Case:
    """A secret in texts that follow each other."""

    secret: Secret
    carrier: str
    texts: tuple[str, ...]
    bare: bool
    """False where the value stands encoded."""


class Maker:
    """Makes secrets from a source of chance."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def draw(self, alphabet: str, length: int) -> str:
        return "".join(self.rng.choices(alphabet, k=length))

    def raw(self, length: int) -> bytes:
        return self.rng.randbytes(length)

    def token(self, kind: str, *parts: str) -> Secret:
        return Secret(kind, "".join(parts), "".join(parts))

    def word(self) -> str:
        """A password as a person or a generator makes one."""
        noun = self.rng.choice(
            ("Falcon", "harbor", "Quartz", "meadow", "Turbine", "walnut", "Glacier", "ember")
        )
        return self.rng.choice(
            (
                self.draw(ALNUM, self.rng.randint(12, 20)) + str(self.rng.randint(2, 9)),
                f"{noun}{self.rng.choice('!#+=?')}{self.draw(string.digits, 4)}{self.draw('QRST', 2)}",
                self.draw(HEX, 32),
                base64.b64encode(self.raw(18)).decode() + "7a",
            )
        )


def aws_id(m: Maker) -> Secret:
    return m.token("aws id", m.rng.choice(("AK", "AS")), "IA", m.draw(BASE32, 16))


def aws_pair(m: Maker) -> Secret:
    name = m.rng.choice(("aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY=", "SecretAccessKey: "))
    value = base64.b64encode(m.raw(30)).decode()
    return Secret("aws secret", f"{name}{value}", value)


def github(m: Maker) -> Secret:
    if m.rng.random() < 0.3:
        return m.token("github", "github", "_pat_", m.draw(ALNUM, 22), "_", m.draw(ALNUM, 59))
    return m.token("github", "gh", m.rng.choice("posur"), "_", m.draw(ALNUM, 36))


def gitlab(m: Maker) -> Secret:
    return m.token("gitlab", "gl", "pat-", m.draw(URL64, 19), "k")


def pem(m: Maker) -> Secret:
    kind = m.rng.choice(("RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", ""))
    body = base64.b64encode(m.raw(m.rng.randint(120, 1_100))).decode()
    width = m.rng.choice((64, 70, 76))
    lines = [body[at : at + width] for at in range(0, len(body), width)]
    head, foot = (f"-----{word} {kind}PRIVATE" + " KEY-----" for word in ("BEGIN", "END"))
    return Secret("private key", "\n".join((head, *lines, foot)), body)


def pgp(m: Maker) -> Secret:
    body = base64.b64encode(m.raw(700)).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    head, foot = (f"-----{word} PGP PRIVATE" + " KEY BLOCK-----" for word in ("BEGIN", "END"))
    check = "=" + base64.b64encode(m.raw(3)).decode()
    return Secret("pgp key", "\n".join((head, "", *lines, check, foot)), body)


def jwt(m: Maker) -> Secret:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    header = {"alg": m.rng.choice(("HS256", "RS256", "none")), "typ": "JWT"}
    claims = {"sub": m.draw(string.digits, 8), "iat": m.rng.randint(10**9, 2 * 10**9)}
    text = ".".join((part(header), part(claims), base64.urlsafe_b64encode(m.raw(32)).decode().rstrip("=")))
    return m.token("jwt", text)


def env_line(m: Maker) -> Secret:
    name = m.rng.choice(
        (
            "DB_PASSWORD",
            "API_TOKEN",
            "SECRET_KEY",
            "STRIPE_SECRET",
            "SMTP_PASS",
            "JWT_SIGNING_KEY",
            "SESSION_SECRET",
        )
    )
    quote, value = m.rng.choice(("", "", '"', "'")), m.word()
    return Secret(".env", f"{name}={quote}{value}{quote}", value)


def url(m: Maker) -> Secret:
    scheme = m.rng.choice(("postgres", "mysql", "amqp", "redis", "https", "mongodb+srv"))
    value = m.draw(ALNUM, 14) + "4"
    return Secret("url password", f"{scheme}://svc_{m.draw(HEX, 3)}:{value}@db.corp.net:5432/main", value)


def bearer(m: Maker) -> Secret:
    value = m.draw(URL64, 39) + "5"
    return Secret("authorization", f"Authorization: Bearer {value}", value)


def basic(m: Maker) -> Secret:
    value = base64.b64encode(f"svc:{m.draw(ALNUM, 15)}".encode()).decode()
    return Secret("authorization", f"Authorization: Basic {value}", value)


def cookie(m: Maker) -> Secret:
    value = m.draw(HEX, 40)
    return Secret("cookie", f"Set-Cookie: lang=en; sessionid={value}; Path=/; HttpOnly", value)


SERVICES: Final[tuple[tuple[str, Callable[[Maker], tuple[str, ...]]], ...]] = (
    ("hugging face", lambda m: ("h", "f_", m.draw(ALNUM, 34))),
    ("anthropic", lambda m: ("sk", "-ant-", "api03-", m.draw(URL64, 92), "AA")),
    ("openai", lambda m: ("sk", "-proj-", m.draw(URL64, 73), "T3Blbk", "FJ", m.draw(URL64, 73), "A")),
    ("openai", lambda m: ("s", "k-", m.draw(ALNUM, 20), "T3Blbk", "FJ", m.draw(ALNUM, 20))),
    ("google", lambda m: ("AI", "za", m.draw(URL64, 34), "8")),
    ("slack", lambda m: ("xox", "b-", m.draw(DIGITS, 12), "-", m.draw(DIGITS, 13), "-", m.draw(ALNUM, 24))),
    ("npm", lambda m: ("np", "m_", m.draw(ALNUM, 36))),
    ("pypi", lambda m: ("py", "pi-", "AgEIcHlwaS5vcmc", m.draw(URL64, 149), "x")),
    ("digitalocean", lambda m: ("dop", "_v1_", m.draw(HEX, 64))),
    ("stripe", lambda m: ("sk", "_live_", m.draw(ALNUM, 24))),
    ("sendgrid", lambda m: ("S", "G.", m.draw(URL64, 22), ".", m.draw(URL64, 42), "q")),
    ("twilio", lambda m: ("S", "K", m.draw(HEX, 32))),
    ("telegram", lambda m: (m.draw("123456789", 10), ":", "AA", m.draw(URL64, 32), "z")),
    ("discord", lambda m: ("M", m.draw(ALNUM, 23), ".", m.draw(ALNUM, 6), ".", m.draw(URL64, 26), "c")),
    ("mailchimp", lambda m: (m.draw(HEX, 32), "-us", str(m.rng.randint(1, 21)))),
    ("square", lambda m: ("sq0", "csp-", m.draw(URL64, 42), "d")),
)
CONTEXTUAL: Final[tuple[tuple[str, Callable[[Maker], tuple[str, str]]], ...]] = (
    ("azure storage", lambda m: ("AccountName=ab;AccountKey=", base64.b64encode(m.raw(64)).decode())),
    ("artifactory", lambda m: ("X-JFrog-Art-Api: ", "AKC" + "p" + m.draw(ALNUM, 69))),
    ("cloudant", lambda m: ("cloudant_password = ", m.draw(HEX, 64))),
    ("ibm", lambda m: ("ibm_cloud_api_key: ", m.draw(URL64, 43) + "3")),
    ("npm", lambda m: ("//registry.example.net/:_authToken=", "np" + "m_" + m.draw(ALNUM, 36))),
)


def of_service(kind: str, make: Callable[[Maker], tuple[str, ...]]) -> Callable[[Maker], Secret]:
    """A token by itself."""
    return lambda m: m.token(kind, *make(m))


def contextual(kind: str, make: Callable[[Maker], tuple[str, str]]) -> Callable[[Maker], Secret]:
    """A value that is known by what stands before it."""
    return lambda m: (lambda lead, value: Secret(kind, lead + value, value))(*make(m))


KINDS: Final = (
    aws_id, aws_pair, github, gitlab, pem, pgp, jwt, env_line, url, bearer, basic, cookie,
    *(of_service(*service) for service in SERVICES),
    *(contextual(*service) for service in CONTEXTUAL),
)  # fmt: skip
Carried = tuple[tuple[str, ...], bool]
"""Texts, and whether the secret stands in them as it is."""


def in_output(s: Secret, m: Maker) -> Carried:
    return (
        f"collected 3 items\n\nE   leaked:\n{s.text}\n\n1 failed in 0.{m.draw('123', 2)}s\n[exit code 1]",
    ), True


def in_diff(s: Secret, m: Maker) -> Carried:
    sign = m.rng.choice("+- ")
    lines = "\n".join(f"{sign}{line}" for line in s.text.splitlines())
    return (
        f"--- a/conf\n+++ b/conf\n@@ -1,2 +1,{2 + s.text.count(chr(10))} @@\n import os\n{lines}\n x = 1\n",
    ), True


def in_message(s: Secret, _: Maker) -> Carried:
    return (f"Please look why this does not work any more:\n\n{s.text}\n\nIt did so yesterday.",), True


def in_json(s: Secret, m: Maker) -> Carried:
    return (
        json.dumps({"id": m.rng.randint(1, 99), "log": s.text, "ok": False}, indent=m.rng.choice((None, 2))),
    ), True


def in_yaml(s: Secret, _: Maker) -> Carried:
    body = "\n".join(f"    {line}" for line in s.text.splitlines())
    return (f"service:\n  replicas: 2\n  settings: |\n{body}\n  image: app:1.4\n",), True


def in_shell(s: Secret, _: Maker) -> Carried:
    return (f"$ cat config.txt\n{s.text}\n$ echo done\ndone\n",), True


def escaped(s: Secret, _: Maker) -> Carried:
    return (json.dumps({"body": json.dumps({"log": f"before\n{s.text}\nafter"})}),), True


def numbered(s: Secret, m: Maker) -> Carried:
    first = m.rng.randint(1, 300)
    return (
        "\n".join(f"{first + n:4} {line}" for n, line in enumerate(("top", *s.text.splitlines(), "end"))),
    ), True


def in_base64(s: Secret, m: Maker) -> Carried:
    code = base64.b64encode(f"\n{s.text}\n".encode()).decode()
    if m.rng.random() < 0.5:
        code = "\n".join(code[at : at + 76] for at in range(0, len(code), 76))
    return (f"kind: Blob\ncontent:\n{code}\nend\n",), False


def split(s: Secret, m: Maker) -> Carried:
    at = (
        s.text.index(s.value[:12]) + m.rng.randint(len(s.value) // 4, len(s.value) * 3 // 4)
        if s.value[:12] in s.text
        else len(s.text) // 2
    )
    return (f"first part:\n{s.text[:at]}\n[exit code 0]", f"{s.text[at:]}\nthat was all\n[exit code 0]"), True


CARRIERS: Final = (
    in_output,
    in_diff,
    in_message,
    in_json,
    in_yaml,
    in_shell,
    escaped,
    numbered,
    in_base64,
    split,
)


def cases(seed: int, count: int) -> list[Case]:
    """Every kind in every carrier, then again with other values until there are enough."""
    m, made = Maker(random.Random(seed)), list[Case]()
    while len(made) < max(count, len(KINDS) * len(CARRIERS)):
        for kind in KINDS:
            for carrier in CARRIERS:
                secret = kind(m)
                texts, bare = carrier(secret, m)
                made.append(Case(secret, carrier.__name__.removeprefix("in_"), texts, bare))
    return made


def events_of(case: Case) -> list[ActionEnded]:
    """The texts as outputs of tools that follow each other."""
    return [
        ActionEnded(step=step, observation=Observation(action_id=f"a{step}", status=Status.OK, output=text))
        for step, text in enumerate(case.texts)
    ]


def left(case: Case, texts: Sequence[str]) -> bool:
    """True where a piece of the secret can be read in what came out."""
    shown = "\n".join(texts)
    if not case.bare:
        coded = base64.b64encode(f"\n{case.secret.text}\n".encode()).decode()
        flat = shown.replace("\n", "")
        return any(coded[at : at + 16] in flat for at in range(len(coded) - 15))
    size = 8 if len(case.secret.value) >= 16 else 6
    pieces = {case.secret.value[at : at + size] for at in range(len(case.secret.value) - size + 1)}
    flat = shown.replace("\\n", "\n")
    return any(piece in flat for piece in pieces)


def clean_files(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Python sources."""
    for folder in folders:
        skipped = {"site-packages", "test", "tests"} if folder != ROOT else {"build", "dist"}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).parts
            if not (skipped & set(parts[:-1])) and not any(part.startswith(".") for part in parts):
                yield path, path.read_text(encoding="utf-8", errors="replace")


def main() -> int:
    """Prints the figures; 1 where a planted secret was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=FEWEST)
    parser.add_argument("--clean", type=Path, action="append", help="a folder of clean code; may be repeated")
    given = parser.parse_args()
    planted, caught, missed = Counter[str](), Counter[str](), list[str]()
    for case in cases(given.seed, max(given.cases, FEWEST)):
        for name in (case.secret.kind, f"in {case.carrier}"):
            planted[name] += 1
        if left(case, exported(case)):
            missed.append(f"missed: {case.secret.kind} in {case.carrier}")
        else:
            caught.update((case.secret.kind, f"in {case.carrier}"))
    for name in sorted(planted):
        sys.stdout.write(f"{name:22}{caught[name]:5} of {planted[name]}\n")
    total = sum(count for name, count in planted.items() if name.startswith("in "))
    sys.stdout.write(f"{'all':22}{total - len(missed):5} of {total} (seed {given.seed})\n")
    sys.stdout.writelines(f"{line}\n" for line in missed)
    alarms(given.clean or [Path(sysconfig.get_path("stdlib")), ROOT])
    return 1 if missed else 0


def exported(case: Case) -> list[str]:
    """What is left of a case's texts when they were recorded as a run, and that run was exported."""
    recorder = Redactor(env_values=())
    payloads = [RunStarted(task=Task(id="t", prompt="p", repo="/r"), adi_version="1")]
    payloads += [recorder.payload(payload) for payload in events_of(case)]
    events = tuple(
        Event(run_id="r", seq=seq, at="2026-01-01T00:00:00.000Z", payload=payload)
        for seq, payload in enumerate(payloads, 1)
    )
    clean, _, _ = Scrubber(Pseudonyms(b"k" * 32), env_values=()).harvest(Harvest("r", "s", events))
    return [
        event.payload.observation.output for event in clean.events if isinstance(event.payload, ActionEnded)
    ]


def alarms(folders: Sequence[Path]) -> None:
    """Print what is found in clean code."""
    size, seconds, found = 0, 0.0, Counter[str]()
    for path, text in clean_files(folders):
        began = time.process_time()
        spans = find(text)
        seconds += time.process_time() - began
        size += len(text)
        found.update(span.detector for span in spans)
        for span in spans:
            line = text.count("\n", 0, span.start) + 1
            sys.stdout.write(f"alarm: {path.name}:{line} {span.detector}\n")
    rate = sum(found.values()) / max(size, 1) * 1e6
    sys.stdout.write(
        f"clean code: {size:,} characters, {sum(found.values())} alarms, {rate:.2f} per million\n"
    )
    sys.stdout.write(f"{seconds / max(size, 1) * 1e9:.0f} ms of processor time per million characters\n")


if __name__ == "__main__":
    sys.exit(main())
