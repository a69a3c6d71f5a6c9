"""A real browser for tests: Debian's chromium, driven by its chromedriver, which speaks HTTP and JSON."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
ENTER, ESCAPE, CONTROL = "\ue007", "\ue00c", "\ue009"
"""Keys as the protocol names them."""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # root in a container has no user namespaces to spare; the pages are our own
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


def missing_browser() -> str:
    """Why no browser can be started; empty when one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (try: make browser)" if absent else ""


class Browser:
    """One window. Every call fails with what chromedriver says."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="adi-browser-")
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            env={**os.environ, "HOME": self._home.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._base = f"http://127.0.0.1:{self._port()}/session"
        profile = f"--user-data-dir={self._home.name}/profile"
        options = {"binary": shutil.which("chromium"), "args": [*SWITCHES, profile]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{made['sessionId']}"

    def _port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                return int(found[1])
        raise AssertionError(f"chromedriver ended with {self._driver.wait()}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(30)
            if self._driver.stdout is not None:
                self._driver.stdout.close()
            self._home.cleanup()

    def open(self, address: str) -> None:
        self._ask("POST", "/url", {"url": address})

    @property
    def address(self) -> str:
        return str(self._ask("GET", "/url"))

    def run(self, script: str, *arguments: object) -> Any:
        """What a function body returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    @property
    def text(self) -> str:
        """What a person reads on the page; nothing until its scripts have run."""
        return str(self.run("return document.readyState === 'complete' ? document.body.innerText : ''"))

    def wait_for(self, text: str) -> None:
        """Until the page shows the text."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not on the page:\n{self.text}"
            time.sleep(0.05)

    def press(self, *keys: str, holding: str = "") -> None:
        """Keys one after the other, as a person's hand does; a text is as many keys."""
        actions = [{"type": "keyDown", "value": holding}] if holding else []
        for key in "".join(keys):
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        actions += [{"type": "keyUp", "value": holding}] if holding else []
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[ELEMENT]}/click", {})

    def tool(self, name: str, **values: object) -> Any:
        """A command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": values})

    def look(self, place: Path, *, dark: bool = False, width: int = 1400, height: int = 900) -> None:
        """A picture of the window as a PNG file."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tool("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("POST", "/window/rect", {"width": width, "height": height})
        place.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the console said since the last time, without the icon that browsers ask for."""
        said = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in said if "favicon.ico" not in entry["message"]]
