"""Which files of a repository look like somebody's secrets: by their names, or by their text.

A committed file is the project's own, whatever its name (test certificates, an `.env` with defaults). One
that looks like a secret and is not committed, or was edited since, is its owner's and is not copied. The
lists follow secret scanners and the ignore templates of large forges; what has no such name is missed.
"""

import re
from pathlib import PurePosixPath

_EXAMPLES = frozenset(
    {"example", "sample", "template", "tmpl", "dist", "default", "defaults", "schema", "md"}
)
_ENV_FILE = re.compile(r"\.env(rc)?([._-].+)?|.+\.env")
_STORES = frozenset(
    {
        ".netrc", "_netrc", ".git-credentials", ".pypirc", ".pgpass", ".my.cnf", ".dockercfg", ".vault-token",
        ".htpasswd", ".s3cfg", ".boto", "credentials.json", "secrets.json", "secrets.yml", "secrets.yaml",
        "secrets.toml", "terraform.tfstate", "application_default_credentials.json",
        "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk",
    }
)  # fmt: skip
_PAIRS = frozenset(
    {(".aws", "credentials"), (".docker", "config.json"), (".kube", "config"), ("gh", "hosts.yml")}
)
_PATTERNS = re.compile(
    r"(client_secret|service[-_]account).*\.json|.+\.(p12|pfx|jks|keystore|kdbx|ppk|tfvars)"
)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----")
_TOKEN = re.compile(rb"(?i)(_auth(token)?|_password|npmauth(token|ident))[\"']?\s*[=:]\s*[\"']?[^\s$\"'{]")
_TOKEN_FILES = frozenset({".npmrc", ".yarnrc", ".yarnrc.yml"})
_KEY_ENDS = frozenset({".pem", ".key", ".crt", ".asc"})

HEAD_BYTES = 64 * 1024
"""As much of a file as `text_tells` needs to see."""


def name_tells(path: str) -> bool:
    """True when the name alone says that the file holds secrets."""
    parts = PurePosixPath(path.casefold()).parts
    name = parts[-1] if parts else ""
    if re.split(r"[._-]", name)[-1] in _EXAMPLES:
        return False
    known = name in _STORES or parts[-2:] in _PAIRS
    return known or any(rule.fullmatch(name) for rule in (_ENV_FILE, _PATTERNS))


def asks_for_text(path: str) -> bool:
    """True when the beginning of the file decides."""
    return _rule(path) is not None


def text_tells(path: str, head: bytes) -> bool:
    """True when the first HEAD_BYTES of such a file hold a private key or a token."""
    rule = _rule(path)
    return rule is not None and rule.search(head) is not None


def _rule(path: str) -> "re.Pattern[bytes] | None":
    name = PurePosixPath(path.casefold()).name
    if name in _TOKEN_FILES:
        return _TOKEN
    return _PRIVATE_KEY if PurePosixPath(name).suffix in _KEY_ENDS else None
