"""What ADI would say on an issue, and saying it by `gh` once and no more.

The first line is a hidden marker with the item's key and run as a hash: a second posting finds it and gives
the address of the first. Text of strangers stands in code spans and fences that it cannot end, or with every
sign escaped that would mention people, link other issues or format.
"""

import hashlib
import json
import re
import tempfile
from typing import Any, Final

from agent.backlog_item import Item, web_address
from agent.backlog_read_github import MARKER, call
from agent.backlog_results import Result
from agent.errors import ENVIRONMENT, AdiError, UsageError
from agent.inert import inert, inert_line

MAX_COMMENT: Final = 60_000
"""Characters; GitHub takes 65,536."""
MAX_INLINE: Final = 20_000
"""Characters of a patch that the comment itself holds."""
MAX_THREAD: Final = 64 * 1024 * 1024
"""Bytes of an issue's comments, as gh prints them."""
MAX_NAMED: Final = 30
_ISSUE: Final = re.compile(r"https?://[\w.-]+(:\d+)?/[\w.-]+/[\w.-]+/issues/\d+", re.ASCII)
_SIGNS: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>$])")
_SAID: Final = {
    "solved": "ADI has a change for this issue, and the checks below pass with it.",
    "unsolved": "ADI worked on this issue and did not solve it.",
    "needs-human": "ADI worked on this issue and needs a person to decide.",
    "infra-error": "ADI could not work on this issue: its environment failed.",
    "parked": "ADI has put this issue aside after several failed attempts.",
    "cancelled": "Work of ADI on this issue was cancelled.",
    "superseded": "This issue was edited; ADI works on the new text.",
}


class PostFailed(AdiError):
    """The tracker did not take the comment, or did not say that it did."""

    exit_code = ENVIRONMENT


def marker_of(key: str, run: str) -> str:
    """The hidden line by which a comment is recognised, the same for the same item and run."""
    return f"{MARKER}{hashlib.sha256(json.dumps([key, run]).encode()).hexdigest()[:24]} -->"


def comment_text(result: Result) -> str:
    """The comment, Markdown: what was done, the change, the checks with their results, how to apply it."""
    parts = [marker_of(result.key, result.run_id), _SAID[result.standing]]
    if result.sentence:
        parts.append(prose(result.sentence[:1_000]))
    if result.diffstat.strip():
        parts.append(fenced(result.diffstat.strip("\n")[:4_000]))
    parts += [_checks(result), *_apply(result)]
    spent = f"{result.attempts} attempt{'s' if result.attempts != 1 else ''}, {result.seconds:.0f} s"
    parts.append(f"Run {code(result.run_id)}, {spent}." if result.run_id else f"No run, {spent}.")
    return "\n\n".join(filter(None, parts))[:MAX_COMMENT] + "\n"


def _checks(result: Result) -> str:
    counted = f"Checks: {result.checks_passed} passed, {result.checks_failed} failed."
    if not result.checks_passed and not result.checks_failed:
        counted = "No check was run."
    lines = []
    for check in result.checks[:MAX_NAMED]:
        tests = check.tests_passed + check.tests_failed
        told = f", {check.tests_passed} of {tests} tests" if tests else ""
        word = "passes" if check.passed else "**fails**"
        lines.append(f"- {code((check.command or check.name)[:300])} {word}{told}")
    if len(result.checks) > MAX_NAMED:
        lines.append(f"- and {len(result.checks) - MAX_NAMED} more")
    return "\n".join([counted, *([""] if lines else []), *lines])


def _apply(result: Result) -> list[str]:
    parts = []
    if result.branch:
        parts.append(f"The change is on the branch {code(result.branch)}.")
    if not result.patch:
        return parts
    try:
        text = result.patch.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > MAX_INLINE or inert(text) != text.replace("\r\n", "\n"):
        parts.append(
            f"The patch ({len(result.patch):,} bytes) is not shown here; apply it with `git apply FILE`."
        )
        return parts
    parts.append("To apply it, save the patch as `adi.patch` and run `git apply --3way adi.patch`.")
    parts.append(f"<details><summary>Patch</summary>\n\n{fenced(text.rstrip(chr(10)), 'diff')}\n\n</details>")
    return parts


def code(text: str) -> str:
    """A code span that its text cannot end; nobody is mentioned and nothing linked in one."""
    line = inert_line(text).strip()
    ticks = "`" * (_longest(line) + 1)
    blank = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{blank}{line}{blank}{ticks}" if line else "none"


def fenced(text: str, language: str = "") -> str:
    """A block of code that its text cannot end."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}{language}\n{inert(text)}\n{fence}"


def prose(text: str) -> str:
    """One line that mentions nobody, links nothing and has no format."""
    line = _SIGNS.sub(r"\\\1", inert_line(text).replace("&", "&amp;").replace("<", "&lt;"))
    line = line.replace("@", "@\u200b").replace("\\#", "\\#\u200b").replace("://", ":\u200b//")
    return re.sub(r"(?i)\b(gh|www)(\\[-.])", "\\1\u200b\\2", line)


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def post(item: Item, text: str, run: str) -> str:
    """Say it on the item's issue, if it was not said before; gives the comment's address.

    Raises UsageError for an item that is no issue on the web, EnvironmentMissing without `gh`, PostFailed.
    Calling it again after a failure is safe: what was posted is found.
    """
    if not _ISSUE.fullmatch(item.url):
        raise UsageError(f"{item.key} has no issue to comment on", "only items of GitHub have one")
    marker = marker_of(item.key, run)
    if not text.startswith(marker):
        text = f"{marker}\n\n{text}"
    if said := _said(item.url, marker):
        return said
    with tempfile.TemporaryFile() as answer:
        lost = call(["issue", "comment", item.url, "--body-file", "-"], answer, text)
        answer.seek(0)
        lines = answer.read(10_000).decode("utf-8", "replace").split()
    if lost:
        raise PostFailed(f"the comment on {item.key} may not be posted: {lost}", "run the same again")
    return lines[-1] if lines and web_address(lines[-1]) else item.url


def _said(url: str, marker: str) -> str:
    """Address of the comment with the marker; empty when there is none. Raises PostFailed."""
    with tempfile.TemporaryFile() as answer:
        lost = call(["issue", "view", url, "--json", "comments"], answer)
        answer.seek(0)
        content = answer.read(MAX_THREAD + 1)
    if lost or len(content) > MAX_THREAD:
        raise PostFailed(f"the comments on {url} cannot be read: {lost or 'too many'}", "gh auth status")
    try:
        comments: Any = json.loads(content)["comments"]
        for comment in comments:
            # Others may have copied the marker; gh tells whose a comment is.
            own = comment.get("viewerDidAuthor", True)
            if own and str(comment.get("body", "")).startswith(marker):
                return str(comment.get("url") or url)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PostFailed(
            f"the comments on {url} cannot be read: not the JSON of gh", "gh --version"
        ) from None
    return ""
