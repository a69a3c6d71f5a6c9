"""The review in a real browser: what a person sees, what keys do, and what other sites cannot do.

With ADI_TEST_PICTURES naming a folder, pictures of the pages are kept there.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.agent_kit import BUGGY, CALC, MENDED
from tests.browser_kit import CONTROL, ENTER, ESCAPE, Browser
from tests.conftest import RepoFactory
from tests.review_kit import EDITED_LINE, Served, left, pending, served

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("ADI_TEST_PICTURES", "")
HOSTILE = "mend it <script>document.title = 'pwned'</script>\u202e\x1b[2J"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture
def picture(browser: Browser, tmp_path: Path) -> "Picture":
    return Picture(browser, Path(PICTURES) if PICTURES else tmp_path)


class Picture:
    """Takes pictures in both schemes."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def __call__(self, name: str, width: int = 1400) -> tuple[bytes, bytes]:
        made = []
        for dark in (True, False):
            place = self._folder / f"{name}-{'dark' if dark else 'light'}.png"
            self._browser.look(place, dark=dark, width=width)
            made.append(place.read_bytes())
        return made[0], made[1]


def enter(browser: Browser, running: Served) -> None:
    browser.complaints()
    browser.open(running.server.address(running.site.keys.token))
    browser.wait_for(" waiting")


def test_keys_accept_and_reject(make_repo: RepoFactory, browser: Browser, picture: Picture) -> None:
    repo = make_repo(BUGGY)
    first, second, third = pending(repo, "Make add() add", HOSTILE, "Make the sum right again")
    with served(repo) as running:
        enter(browser, running)
        browser.wait_for("3 waiting")
        assert "token=" not in browser.address
        picture("list")
        browser.press("j")
        browser.wait_for("1 of 3")
        assert "Make the sum right again" in browser.text
        side = browser.run(
            "const cells = [...document.querySelectorAll('.l.old, .l.new')];"
            "return cells.map(cell => cell.getBoundingClientRect())"
        )
        assert side[0]["top"] == side[1]["top"], "old and new stand side by side"
        assert side[0]["right"] <= side[1]["left"]
        marks = browser.run("return [...document.querySelectorAll('mark')].map(mark => mark.textContent)")
        assert marks == ["-", "+"]
        dark, light = picture("result")
        assert dark != light
        browser.press("j")
        browser.wait_for("2 of 3")
        browser.press("k")
        browser.wait_for("1 of 3")
        browser.press("?")
        browser.wait_for("next, this one waits")
        browser.press("?")
        assert (repo / "calc.py").read_text() == CALC
        browser.press("a")
        browser.wait_for(f"Run {third} was accepted: its change is in your tree.")
        assert (repo / "calc.py").read_text() == MENDED
        browser.wait_for("1 of 2")
        assert "<script>document.title" in browser.text, "text of strangers is text"
        assert "\\u202e\\x1b[2J" in browser.text
        assert browser.run("return document.title") != "pwned"
        picture("hostile")
        browser.press("r")
        browser.press("a", "j", "?", " stays in the field", ESCAPE, "r", ENTER)
        browser.wait_for(f"Run {second} was rejected: aj? stays in the field.")
        browser.press("u")
        browser.wait_for("1 waiting")
        assert browser.complaints() == []
    assert left(repo) == [first]


def test_the_diff_is_edited_by_hand(make_repo: RepoFactory, browser: Browser, picture: Picture) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    with served(repo) as running:
        enter(browser, running)
        browser.press("j")
        browser.wait_for("1 of 1")
        browser.press("e")
        browser.wait_for("Edit the diff")
        place = browser.run(
            "const field = document.querySelector('textarea'); field.focus();"
            "const at = field.value.indexOf('+    return a + b') + 1;"
            "field.setSelectionRange(at, at + '    return a + b'.length); return at"
        )
        assert place > 0
        browser.press(EDITED_LINE)
        picture("edit")
        browser.press(ENTER, holding=CONTROL)
        browser.wait_for("Your edit was checked")
        assert EDITED_LINE.strip() in browser.text
        assert (repo / "calc.py").read_text() == CALC
        picture("narrow", width=500)
        browser.click(".decide button.go")
        browser.wait_for("Nothing waits for a decision.")
        browser.wait_for(f"Run {run} was accepted")
        picture("empty")
        assert browser.complaints() == []
    assert EDITED_LINE in (repo / "calc.py").read_text()


def test_a_broken_verdict_is_accepted_only_with_a_tick(
    make_repo: RepoFactory, browser: Browser, picture: Picture
) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    with served(repo) as running:
        visitor = running.visitor()
        diff = running.site.see(run).diff.replace(b"+    return a + b", b"+    return a * b")
        visitor.act(run, "edit", text=diff.decode())
        enter(browser, running)
        browser.press("j")
        browser.wait_for("The verdict does not hold.")
        picture("broken")
        browser.press("a")
        assert browser.run("return document.activeElement.name") == "force"
        assert (repo / "calc.py").read_text() == CALC
        browser.press(" ", "a")
        browser.wait_for(f"Run {run} was accepted")
    assert "a * b" in (repo / "calc.py").read_text()


def test_other_sites_see_and_do_nothing(make_repo: RepoFactory, browser: Browser) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    with served(repo) as running:
        enter(browser, running)
        browser.wait_for("1 waiting")
        assert browser.run("return document.cookie") == "", "no script reads the cookie"
        base = browser.address
        form = running.site.keys.form
        evil = (
            f"<form method=post action='{base}run/{run}/accept'><input name=form value='{form}'>"
            f"<input name=mark value='{running.site.see(run).mark}'></form><iframe src='{base}'></iframe>"
        )
        browser.open("data:text/html," + quote(evil))
        browser.run("document.forms[0].submit()")
        browser.wait_for("Open the address that adi review --web printed.")
        browser.open("data:text/html,elsewhere")
        said = browser.run(
            "return fetch(arguments[0], {credentials: 'include'}).then(r => r.text(), e => 'refused')", base
        )
        assert said == "refused"
        browser.open(base.replace("127.0.0.1", "localhost"))
        browser.wait_for("Open the address that adi review --web printed.")
    assert left(repo) == [run]
    assert (repo / "calc.py").read_text() == CALC
