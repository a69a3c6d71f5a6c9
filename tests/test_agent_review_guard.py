"""Who is let in by the review's web server, and what strangers can make it do: nothing."""

import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.review_guard import LARGEST, Keys
from agent.review_server import ReviewServer
from tests.agent_kit import BUGGY, CALC
from tests.conftest import RepoFactory
from tests.review_kit import Served, Visitor, fields, left, pending, served


@pytest.fixture
def repo(make_repo: RepoFactory) -> Path:
    return make_repo(BUGGY)


@pytest.fixture
def site(repo: Path) -> Iterator[Served]:
    """A server with one result that waits."""
    pending(repo, "mend it")
    with served(repo) as running:
        yield running


def test_only_the_printed_address_lets_in(site: Served) -> None:
    stranger = site.visitor(enter=False)
    for path in ("/", "/run/x", "/review.css", "/review.js", "/?token=", "/?token=guess"):
        status, text, headers = stranger.ask(path)
        assert status == 403, path
        assert "Open the address that adi review --web printed." in text
        assert "set-cookie" not in headers
    assert Visitor(stranger.base.rpartition("/")[0]).ask("/")[0] == 403
    assert stranger.ask("/", Cookie="adi-review=guess")[0] == 403
    status, text, headers = stranger.ask(f"/?token={site.site.keys.token}")
    room = site.site.keys.room
    assert status == 200
    assert f'content="0;url=/{room}/"' in text
    assert site.site.keys.token not in text
    cookie = headers["set-cookie"]
    assert cookie.endswith(f"; Path=/{room}; HttpOnly; SameSite=Strict")
    assert stranger.ask("/", Cookie=cookie.partition(";")[0])[0] == 200


def test_the_address_for_a_browser_works_once() -> None:
    keys = Keys()
    once = keys.once
    assert [keys.admit(token) for token in (once, once, "", keys.token, keys.token)] == [
        True, False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "[::1]", "0.0.0.0", "["])
def test_another_host_is_refused(site: Served, name: str) -> None:
    visitor = site.visitor()
    status, text, _ = visitor.ask("/", Host=name or " ")
    assert status == 400, text
    assert visitor.ask("/", Host=f"localhost:{site.server.port}")[0] == 200


def test_every_answer_is_locked_down(site: Served) -> None:
    visitor = site.visitor()
    (run,) = left()
    paths = ("/", f"/run/{run}", f"/run/{run}/edit", f"/run/{run}/diff", "/review.css", "/review.js", "/no")
    for path in paths:
        _, text, headers = visitor.ask(path)
        policy = headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'"
        )
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
        assert not re.search(r"(src|href|action|url)\s*[=(]\s*[\"']?(https?:)?//", text), path
        assert not re.search(r"<style|<[^>]* (style|on\w+)=", text), path
    assert "sha256-" in visitor.ask(f"/run/{run}/story")[2]["content-security-policy"]


@pytest.mark.parametrize("what", ["accept", "reject", "edit", "check"])
def test_a_form_of_a_stranger_changes_nothing(site: Served, repo: Path, what: str) -> None:
    visitor = site.visitor()
    (run,) = left()
    form = fields(visitor.ask(f"/run/{run}")[1])
    assert set(form) == {"form", "mark"}
    path = f"/run/{run}/{what}"
    assert visitor.ask(path, {})[0] == 403
    assert visitor.ask(path, {**form, "form": "guess"})[0] == 403
    assert Visitor(visitor.base).ask(path, form)[0] == 403
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{site.server.port}",
        "http://127.0.0.1",
    ):
        status, text, _ = visitor.ask(path, form, Origin=origin)
        assert (status, "came from another site" in text) == (403, True)
    assert visitor.ask(path, form, Sec_Fetch_Site="cross-site")[0] == 403
    assert visitor.ask(path, form, Sec_Fetch_Site="same-site")[0] == 403
    assert visitor.ask(path)[0] == (200 if what == "edit" else 405)
    assert left() == [run]
    assert (repo / "calc.py").read_text() == CALC


def test_a_form_without_a_length_or_too_large(site: Served) -> None:
    visitor = site.visitor()
    (run,) = left()
    for headers, status in (
        ({"Content-Length": str(LARGEST + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ):
        link = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=30)
        link.putrequest("POST", f"/{site.site.keys.room}/run/{run}/accept")
        for name, value in {"Cookie": visitor.cookie, **headers}.items():
            link.putheader(name, value)
        link.endheaders()
        assert link.getresponse().status == status
        link.close()


def test_the_port_is_taken(site: Served) -> None:
    with pytest.raises(UsageError, match=f"port {site.server.port} cannot be used"):
        ReviewServer(site.site, site.server.port)
    with socket.create_server(("127.0.0.2", site.server.port)):
        pass  # bound to the loopback's first address alone, not to all of this machine
