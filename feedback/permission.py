"""Whether a run may become training data: off unless it was allowed, and any no outweighs every yes.

The rules, strictest first. A run that was forgotten stays out, also when a backup brings it back; so do runs
of a forgotten repository or author that began before it was forgotten, and for later ones only what was
granted after that counts. Then: who opted out; a repository with `.adi/no-train`, now or when the run began;
a refusal at any scope. What is left needs a grant, of which the narrowest is told.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

from feedback.candidate import Permission
from feedback.errors import DataError
from feedback.harvest import Harvest
from memory.consent import POLICY_VERSION, Consent, Consents, ConsentScope, Standing, key_of
from sandbox.errors import SandboxError
from sandbox.repository import configured, locate

Reason = Literal["", "forgotten", "opted out", "no-train file", "consent refused", "consent not given"]
"""Why a run is kept out; empty where it may be used."""

NO_TRAIN: Final = Path(".adi") / "no-train"
ORIGIN: Final = "remote.origin.url"
"""The address that names a repository as well as its path does; `upstream` is another's repository."""


def has_no_train(repo: str) -> bool:
    """True when the repository says no, or lies where nobody may look."""
    try:
        (Path(repo) / NO_TRAIN).lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL: no such place
        return False
    except OSError:  # it may be there: what cannot be known is no yes
        return True
    return True


def remotes_of(repo: str) -> tuple[str, ...]:
    """Address of a repository on this machine; none when it has none or is gone."""
    try:
        address = configured(locate(Path(repo)).common_dir / "config", ORIGIN)
    except (SandboxError, OSError, ValueError):
        return ()
    return (address,) if address else ()


Seen = Callable[[str], bool]
Addresses = Callable[[str], Sequence[str]]


def judged(
    harvest: Harvest, standing: Standing, *, no_train: Seen = has_no_train, remotes: Addresses = remotes_of
) -> tuple[Permission, Reason]:
    """Whether the run may be used, and why it may not."""
    if (stone := _forgotten(harvest, standing)) is not None:
        return stone, "forgotten"
    if (listed := _opted_out(harvest, standing, remotes)) is not None:
        return listed, "opted out"
    if harvest.started.origin.no_train or no_train(harvest.repository):
        return Permission(status="refused", scope="repository"), "no-train file"
    said = [found for key in _keys(harvest) if (found := standing.decisions.get(key)) is not None]
    if refused := next((one for one in said if one.status == "refused"), None):
        return _told(refused), "consent refused"
    if granted := next((one for one in said if _counts(one, harvest, standing)), None):
        return _told(granted), ""
    return Permission(), "consent not given"


def permission_of(
    harvest: Harvest, standing: Standing, *, no_train: Seen = has_no_train, remotes: Addresses = remotes_of
) -> Permission:
    """Whether the run may be used; `standing` is `Consents(store).standing()`."""
    return judged(harvest, standing, no_train=no_train, remotes=remotes)[0]


def judge_by(
    first: Consents, *others: Consents, no_train: Seen = has_no_train, remotes: Addresses = remotes_of
) -> Callable[[Harvest], tuple[Permission, Reason]]:
    """`judged` for many runs: decisions are read now and once, each repository is looked at once.

    The first store decides; another one's refusals, opt-outs and tombstones count too, its grants do not.
    """
    standings = [each.standing() for each in (first, *others)]
    seen, addresses = cache(no_train), cache(remotes)

    def judge(harvest: Harvest) -> tuple[Permission, Reason]:
        found = [judged(harvest, standing, no_train=seen, remotes=addresses) for standing in standings]
        return next((one for one in found if one[0].status == "refused"), found[0])

    return judge


def declared_by(consents: Consents) -> Callable[[str], str]:
    """From the root of a repository to the licence that its owner declared; read now and once."""
    return consents.standing().declared_licence


def spdx(text: str) -> str:
    """A licence as SPDX writes it, such as `MIT OR Apache-2.0`; empty for an empty text. Raises DataError."""
    from license_expression import ExpressionError, get_spdx_licensing  # type: ignore[import-untyped]

    if not text.strip():
        return ""
    try:
        return str(get_spdx_licensing().parse(text.strip(), validate=True))
    except ExpressionError as error:
        raise DataError(
            f"{text!r} is no licence that SPDX knows", "use an id of https://spdx.org/licenses, such as MIT"
        ) from error


def _forgotten(harvest: Harvest, standing: Standing) -> Permission | None:
    if at := standing.forgotten("run", harvest.run_id):
        return Permission(status="refused", scope="record", at=at)
    if at := standing.forgotten("session", harvest.session_id):
        return Permission(status="refused", scope="session", at=at)
    named: tuple[tuple[Literal["repository", "author"], str, ConsentScope], ...] = (
        ("repository", harvest.repository, "repository"),
        ("author", harvest.started.origin.author, "user"),
    )
    for kind, name, scope in named:
        if (at := standing.forgotten(kind, name)) and at >= harvest.created_at:
            return Permission(status="refused", scope=scope, at=at)
    return None


def _opted_out(harvest: Harvest, standing: Standing, remotes: Addresses) -> Permission | None:
    if not standing.opt_outs:
        return None
    if standing.opted_out("session", harvest.session_id):
        return Permission(status="refused", scope="session")
    places = (harvest.repository, *remotes(harvest.repository))
    if any(standing.opted_out("repository", place) for place in places):
        return Permission(status="refused", scope="repository")
    if standing.opted_out("author", harvest.started.origin.author):
        return Permission(status="refused", scope="user")
    return None


def _keys(harvest: Harvest) -> Iterator[tuple[ConsentScope, str]]:
    """Scopes and keys of decisions about a run, the narrowest first."""
    yield "record", harvest.run_id
    yield "session", harvest.session_id
    yield "repository", harvest.repository
    if author := harvest.started.origin.author:
        yield "user", key_of("user", author)
    yield "user", ""


def _counts(consent: Consent, harvest: Harvest, standing: Standing) -> bool:
    """A grant of this policy that was given after its repository and its author were last forgotten."""
    after = max(
        standing.forgotten("repository", harvest.repository),
        standing.forgotten("author", harvest.started.origin.author),
    )
    return consent.status == "granted" and consent.policy_version >= POLICY_VERSION and consent.at > after


def _told(consent: Consent) -> Permission:
    return Permission(
        status=consent.status,
        scope=consent.scope,
        by=consent.by,
        at=consent.at,
        policy_version=consent.policy_version,
    )
