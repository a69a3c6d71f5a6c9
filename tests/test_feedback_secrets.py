"""Secrets in texts: what is found, what stays, and how long it takes. All canaries are put together here."""

import base64
import json
import random
import string
import subprocess
import sys
import time

import pytest

from benchmarks.planted_secrets import CARRIERS, KINDS, cases, exported, left
from feedback.secret_rules import is_placeholder, is_random, is_secret_name, is_secret_variable
from feedback.secrets import across, environment_values, find

ALNUM = string.ascii_letters + string.digits
RNG = random.Random(6)


def drawn(length: int, alphabet: str = ALNUM) -> str:
    return "".join(RNG.choices(alphabet, k=length))


GITHUB = "gh" + "p_" + drawn(36)
AWS = "AK" + "IA" + drawn(16, string.ascii_uppercase + "234567")
WORD = "Zt7" + drawn(13) + "9q"


def block(kind: str, lines: int = 6) -> str:
    body = "\n".join(drawn(64) for _ in range(lines))
    return f"-----BEGIN {kind}PRIVATE" + f" KEY-----\n{body}\n-----END {kind}PRIVATE" + " KEY-----"


def cut(text: str) -> str:
    """The text without what was found in it."""
    for found in reversed(find(text)):
        text = text[: found.start] + "#" + text[found.end :]
    return text


def test_at_least_two_hundred_planted_secrets_are_caught_everywhere() -> None:
    planted = cases(seed=20_261, count=200)  # no seed that the rules were looked at with
    assert len(planted) == len(KINDS) * len(CARRIERS) >= 200
    assert [(case.secret.kind, case.carrier) for case in planted if left(case, exported(case))] == []
    assert sum(left(case, case.texts) for case in planted) == len(planted), "all of them can be read before"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"export API_TOKEN={WORD} # mine", "export API_TOKEN=# # mine"),
        (f'{{"password": "{WORD}", "n": 1}}', '{"password": "#", "n": 1}'),
        (json.dumps(json.dumps({"client_secret": WORD})), '"{\\"client_secret\\": \\"#\\"}"'),
        (f"password: {WORD}\nport: 1", "password: #\nport: 1"),
        (f"run --token {WORD} now", "run --token # now"),
        (f"<password>{WORD}</password>", "<password>#</password>"),
        (f'secret: str = "{WORD}"', 'secret: str = "#"'),
        (f'os.environ["DB_PASSWORD"] = "{WORD}"', 'os.environ["DB_PASSWORD"] = "#"'),
        (f'setenv("API_KEY", "{WORD}")', 'setenv("API_KEY", "#")'),
        (f"GET /x?access_token={WORD}&page=2", "GET /x?access_token=#&page=2"),
        (f"redis://:{WORD}@db:6379/0", "redis://:#@db:6379/0"),
        (f"https://{WORD}{WORD}@host.org/x.git", "https://#@host.org/x.git"),
        (f"authorization: Bearer {WORD}", "authorization: Bearer #"),
        (f"Cookie: lang=en; session={WORD}; a=b", "Cookie: lang=en; session=#; a=b"),
        (f"\x1b[32m{GITHUB}\x1b[0m ok", "\x1b[32m#\x1b[0m ok"),
        (f"url?x=%3D{GITHUB}", "url?x=%3D#"),
        (f"{AWS},{'aB3/' * 10}", "#,#"),
        ("DB_PASSWORD=x7!Rq", "DB_PASSWORD=x7!Rq"),
        ("DB_PASSWORD=x7!Rqz", "DB_PASSWORD=#"),
    ],
)
def test_the_value_is_found_and_no_more(text: str, rest: str) -> None:
    assert cut(text) == rest


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "])
def test_private_keys_of_all_kinds_and_forms(kind: str) -> None:
    key = block(kind)
    assert cut(f"a\n{key}\nb") == "a\n#\nb"
    assert cut(json.dumps({"key": key})) == '{"key": "#"}'
    quoted = "\n".join("+" + line for line in key.splitlines())
    assert cut(quoted) == "+#"
    lines = key.splitlines()
    assert cut("\n".join(["x", *lines[:4]])) == "x\n#", "its end is missing"
    assert cut("\n".join([*lines[3:], "x"])) == "#\nx", "its beginning is missing"
    assert cut("\n".join(f"{number:5} {line}" for number, line in enumerate(lines, 1))) == "    1 #"


def test_code_about_private_keys_is_no_private_key() -> None:
    head, foot = "-----BEGIN PRIVATE" + " KEY-----", "-----END PRIVATE" + " KEY-----"
    assert find(f'HEAD = "{head}"\nFOOT = "{foot}"\n') == []
    assert find(f"{head}\n...\n{foot}\n") == []
    assert find("-----BEGIN CERTIFICATE-----\n" + drawn(64) + "\n-----END CERTIFICATE-----") == []


@pytest.mark.parametrize(
    "text",
    [
        'password = "secret"',
        'password = "test-password-123"',
        "token = next(tokens)",
        "API_KEY=changeme",
        "API_KEY=${API_KEY}",
        "key: {{ vault_key }}",
        "TOKEN=<your-token-here>",
        "SECRET_KEY=xxxxxxxxxxxxxxxx",
        'token = os.environ["GITHUB_TOKEN_2"]',
        "self.token = self.lexer.token2_value",
        "def login(self, password: str = None, token: Token2 = DEFAULT) -> None:",
        f"commit {drawn(40, '0123456789abcdef')}",
        f"sha256:{drawn(64, '0123456789abcdef')}",
        "id = 123e4567-e89b-12d3-a456-426614174000",
        "postgres://user:password@localhost/db and https://${USER}:${PASS}@host",
        'f"Authorization: Bearer {token}"',
        "data:image/png;base64," + base64.b64encode(bytes(range(256))).decode(),
        "class TaskManager: sort_key = 'created_at_timestamp_2'",
        "usr/lib/python3/dist-packages/pkg_resources/_vendor/packaging/version.py",
        "[REDACTED:github-token:1] password=[REDACTED:assigned-password:2]",
        "1234567:" + drawn(64, "0123456789abcdef"),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert find(text) == []


def test_the_detector_is_the_most_telling_one() -> None:
    assert [found.detector for found in find(f"GITHUB_TOKEN={GITHUB} {AWS}")] == [
        "github-token",
        "aws-access-key",
    ]
    coded = base64.b64encode(f"x={GITHUB}".encode()).decode()
    assert [found.detector for found in find(f"blob: {coded}")] == ["base64-github-token"]
    assert "value" not in repr(find(GITHUB))
    assert GITHUB not in repr(find(GITHUB))


def test_values_of_the_environment_count_wherever_they_stand() -> None:
    values = environment_values(
        {
            "MY_TOKEN": "plainwords",
            "DEPLOY_KEY": "abc",
            "SSH_KEY_PATH": "relative/place",
            "AUTH_KEY": "/home/me/key.pem",
            "MAX_TOKENS": "1000000000",
            "NAME": "not-secret-at-all",
            "PWD": "somewhere-here",
        }
    )
    assert values == ("plainwords",)
    assert [found.detector for found in find("so plainwords it is", values)] == ["environment-value"]
    coded = base64.b64encode(b"said: plainwords, again").decode()
    assert [found.detector for found in find(coded, values)] == ["base64-environment-value"]
    assert find("so plainwords it is") == []
    assert not is_secret_variable("TOKEN", "seven77")
    assert is_secret_variable("TOKEN", "eight888")


def test_a_secret_over_a_cut_is_found_in_both_parts() -> None:
    first, second = f"here: {GITHUB[:17]}\n[exit code 0]\n[changed: a.py]", f"\n{GITHUB[17:]} end"
    lefts, rights = across(first, second)
    assert [first[one.start : one.end] for one in lefts] == [GITHUB[:17]]
    assert [second[one.start : one.end] for one in rights] == [GITHUB[17:]]
    assert lefts[0].value == rights[0].value == GITHUB
    assert across("done\n", "total 4\n") == ([], [])
    assert across("", "x") == ([], [])
    assert across("x", "") == ([], [])


def test_a_token_that_the_end_of_the_output_cuts_is_found() -> None:
    begun = "gh" + "p_" + "aB3dE6gH9kL2"
    assert cut(f"log {begun}") == "log #"
    assert (
        cut(f"log {begun}\n[… 200 characters left out …]\nrest")
        == "log #\n[… 200 characters left out …]\nrest"
    )
    assert cut(f"log {begun} and more") == f"log {begun} and more"


def test_names_and_values_are_judged_alone() -> None:
    assert is_secret_name("AWS_SECRET_ACCESS_KEY")
    assert is_secret_name("dbPassword")
    assert is_secret_name("APP_KEY")
    assert not is_secret_name("sort_key")
    assert not is_secret_name("tokenizer")
    assert not is_secret_name("password_file")
    assert is_placeholder("os.environ['X']")
    assert is_placeholder("12345678")
    assert not is_placeholder("x8Fq0zLm")
    assert is_random("x8Fq0zLm")
    assert not is_random("session_handler")
    assert not is_random("RetryHandler2")


@pytest.mark.parametrize(
    "part", ["sk-", "token=", "key='", "cookie=a;", "authorization: basic ", "\n[x]", "eyJ.", "a@"]
)
def test_hostile_text_takes_no_more_than_linear_time(part: str) -> None:
    def seconds(size: int) -> float:
        text = part * (size // len(part))
        began = time.process_time()
        find(text)
        across(text, text)
        return time.process_time() - began

    seconds(1_000)  # what is loaded once
    assert seconds(200_000) < 4


def test_bytes_that_are_no_text_and_odd_letters_keep_places() -> None:
    text = f"\udc80\U0001f600 İ ſ K {GITHUB} ü"
    (found,) = find(text)
    assert text[found.start : found.end] == GITHUB


def test_plain_output_costs_little_and_loads_no_plugin() -> None:
    program = (
        "import sys; from feedback.secrets import find\n"
        "find('\\n'.join(f'tests/test_{n}.py::test_case PASSED [ {n % 100}%]' for n in range(9000)))\n"
        "assert not any(name.startswith(('detect_secrets', 'requests')) for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
