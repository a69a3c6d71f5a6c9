"""Pseudonyms for personal data and for what tells the host."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feedback.errors import DataError
from feedback.personal import KEY_FILE, Machine, Personal, Pseudonyms, load_key

KEY = bytes(range(32))
HOME = "/home/" + "mirabel"
MACHINE = Machine("mirabel", "quartz-7.lan", HOME, (f"{HOME}/.local/share/adi", "/opt/venvs/adi"))
REPO = "/srv/acme/shop"


def clean(text: str) -> str:
    """The text after it, which a second time leaves alone."""
    personal = Personal(Pseudonyms(KEY), MACHINE, REPO)
    once, _ = personal.text(text)
    assert personal.text(once) == (once, {})
    return once


def name(kind: str, value: str) -> str:
    return Pseudonyms(KEY).of(kind, value)


def test_each_kind_gets_its_pseudonym() -> None:
    user = name("user", "mirabel")
    assert clean(f"{HOME}/x and {HOME}") == f"/home/{user}/x and /home/{user}"
    assert clean("/Us" + "ers/jo.k/y") == f"/Users/{name('user', 'jo.k')}/y"
    assert clean(r"C:\Users\Bob Smith\z") == rf"C:\Users\{name('user', 'Bob Smith')}\z"
    assert clean("cd /ro" + "ot/.ssh") == f"cd /home/{name('user', 'root')}/.ssh"
    assert clean("jane.doe@corp.de") == f"{name('user', 'jane.doe@corp.de')}@example.invalid"
    assert clean("Jane.Doe@Corp.DE") == clean("jane.doe@corp.de")
    assert clean("mailto:jane@corp.io.") == f"mailto:{name('user', 'jane@corp.io')}@example.invalid."
    assert clean("at 93.184.216.34:80") == f"at <{name('ip', '93.184.216.34').replace('-', ':')}>:80"
    assert clean("2a00:1450:4001:81b::200e").startswith("<ip:")
    assert clean("call +49 30 901820 123").startswith("call <phone:")
    assert clean("or (212) 736-5000").startswith("or <phone:")
    assert clean("mirabel@quartz-7:~$") == f"{user}@{name('host', 'quartz-7')}:~$"
    assert clean(f"{REPO}/src/a.py {REPO}") == f"/{name('repo', REPO)}/src/a.py /{name('repo', REPO)}"
    assert clean("/srv/acme/other") == f"/{name('path', '/srv/acme')}/other"
    assert clean("/opt/venvs/adi/bin/x") == f"/{name('path', '/opt/venvs/adi')}/bin/x"
    told = clean("Author: Jane Doe <jane@corp.io>")
    assert told == f"Author: {name('person', 'jane doe')} <{name('user', 'jane@corp.io')}@example.invalid>"


@pytest.mark.parametrize(
    "text",
    [
        "user@decorator and x = a@b.T and self@x.transpose()",
        "@pytest.fixture\n@app.route('/home/')\n",
        "git@github.com:a/b.git noreply@github.com",
        "a@example.com b@mail.example.org c@x.invalid d@localhost",
        "icon@2x.png pkg@1.2.3 node@18.py",
        "127.0.0.1 0.0.0.0 192.0.2.7 203.0.113.9 169.254.1.1 255.255.255.0",
        "version 1.2.3.4 and v10.20.30.40 and pkg==3.114.2.77 and 1.3.6.1.4.1.311",
        "std::a::b fe80::1 2001:db8::1 12:30:45 dead::beef",
        "+12345678901\n-5551234567\n 1 + 234 567 8901",
        "x = 2125551234; tel 555-0123; +1 212 555 0142",
        "see /home and /Users and docs/home/guide.md ~/x src/home/page.py",
        "/Us" + "ers/Shared/x /ho" + "me/linuxbrew/y",
        "a rootless /roots and x/root/y",
        "2024-01-02T03:04:05 100.200 1,234,567.89",
    ],
)
def test_clean_code_stays(text: str) -> None:
    assert clean(text) == text


def test_the_same_value_has_one_name_and_another_key_gives_another() -> None:
    once, again = (Personal(Pseudonyms(KEY), MACHINE).text(f"{HOME}/a mirabel")[0] for _ in range(2))
    assert once == again
    other, _ = Personal(Pseudonyms(KEY[::-1]), MACHINE).text(f"{HOME}/a mirabel")
    assert other != once
    assert once.split("/")[2] == once.split()[-1], "the user of a path is the user of a word"
    with pytest.raises(ValueError, match="16 bytes"):
        Pseudonyms(b"short")


def test_kinds_are_counted() -> None:
    _, counts = Personal(Pseudonyms(KEY), MACHINE, REPO).text(
        f"{REPO} a@corp.de b@corp.de {HOME} /ro" + "ot/x"
    )
    assert counts == {"repo-path": 1, "email": 2, "home-path": 2}


def test_common_names_are_left_alone() -> None:
    personal = Personal(Pseudonyms(KEY), Machine("ubuntu", "localhost", "/home/" + "ubuntu"))
    text, counts = personal.text("the ubuntu image on localhost")
    assert text == "the ubuntu image on localhost"
    assert not counts


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(folder), range(16)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    path = folder / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in folder.iterdir()] == [KEY_FILE]
    path.chmod(0o644)
    load_key(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "others could read it: not any more"


def test_a_broken_key_is_told_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"half")
    with pytest.raises(DataError, match="4 bytes") as caught:
        load_key(tmp_path)
    assert "delete" in caught.value.hint
    assert (tmp_path / KEY_FILE).read_bytes() == b"half"
    (tmp_path / KEY_FILE).unlink()
    (tmp_path / KEY_FILE).symlink_to(os.devnull)
    with pytest.raises(DataError):
        load_key(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read or made"):
        load_key(tmp_path / "file" / "data")
