"""Files of Python packages as data, found on the pages of an index (PEP 503, PEP 691).

Unlike `pip download`, which asks a source distribution for its metadata and so runs its code, nothing of a
package is built, installed or imported.
"""

import hashlib
import html
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx2

from model.errors import DownloadFailed, HashMismatch, Overloaded, Unreachable
from model.partial import Partial
from model.retry import policy
from model.sources import fetch_url

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_LINK = re.compile(r"<a\s[^>]*?href\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)


def package_file(index: str, project: str, name: str, sha256: str, folder: Path) -> Path:
    """The file `name` of a project in `folder`, fetched when it is not there or damaged.

    `index` is an address such as that of pip's `--index-url`. Raises DownloadFailed, HashMismatch, NoSpace.
    """
    target = folder / name
    if target.is_file() and _digest(target) == sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    hint = f"put the file into {folder}, or try again with the network"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as place:
            with Partial(Path(place) / name, 0, lambda _done, _total: None) as partial:
                fetch_url(_address(index, project, name), partial)
                partial.flush()
            if (found := _digest(partial.path)) != sha256:
                raise HashMismatch(f"{name} has the SHA-256 {found}, not {sha256}", hint)
            partial.path.replace(target)
    except (DownloadFailed, Unreachable, Overloaded) as error:
        raise DownloadFailed(f"no {name}: {error.message}", hint) from error
    return target


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _address(index: str, project: str, name: str) -> str:
    """Where the index says that the file is. Raises DownloadFailed, Unreachable, Overloaded."""
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/"
    with httpx2.Client(follow_redirects=True, timeout=httpx2.Timeout(30.0, connect=6.0)) as client:
        for attempt in policy(attempts=3, total_s=60.0, ceiling_s=4.0):
            with attempt:
                response = _page(client, page)
    links = _links(response)
    found = [link for link in links if unquote(urlsplit(link).path).rpartition("/")[2] == name]
    if not found:
        raise DownloadFailed(f"{page} does not list it")
    return urljoin(str(response.url), found[0])


def _page(client: httpx2.Client, page: str) -> httpx2.Response:
    try:
        response = client.get(page, headers={"Accept": _ACCEPT})
    except httpx2.TransportError as error:
        raise Unreachable(f"{page} broke off: {error or type(error).__name__}") from error
    except httpx2.InvalidURL as error:
        raise DownloadFailed(f"{page} is no address: {error}") from error
    if response.status_code == 429 or response.status_code >= 500:
        raise Overloaded(f"{page} answered {response.status_code}")
    if response.status_code != 200:
        raise DownloadFailed(f"{page} answered {response.status_code}")
    return response


def _links(response: httpx2.Response) -> list[str]:
    """Addresses on a page, fragments dropped. Raises DownloadFailed."""
    if "json" not in response.headers.get("content-type", ""):
        return [html.unescape(link).partition("#")[0] for link in _LINK.findall(response.text)]
    try:
        return [str(file["url"]).partition("#")[0] for file in response.json()["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadFailed(f"{response.url} is no page of an index") from error
