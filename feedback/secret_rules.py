"""What secrets look like: beginnings of tokens, plugins of detect-secrets, names of secrets, placeholders.

Data and judgement of single values; feedback/secrets.py searches texts with them.

Decided, and tested: a token with the form of a known kind counts even in documentation (such as the sample
keys of AWS); a value beside a secret-like name counts only if it looks random, so `password = "secret"`,
`token=changeme` and `key: ${KEY}` stay. Hashes and UUIDs count only beside such a name. Values of fewer than
eight characters (six for passwords of three kinds of characters), or with white space, are not found by name.
"""

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Final, NamedTuple


class Prefixed(NamedTuple):
    """Tokens of one kind: any of these beginnings, then a body."""

    detector: str
    begins: tuple[str, ...]
    body: "re.Pattern[str]"
    random: bool
    """The body must look random, because words may begin so too."""
    words: bool
    """Words with digits are random enough."""
    full: int
    """Characters of the body of a whole token; 0 where they differ."""


def _kind(
    detector: str, begins: str, body: str, *, random: bool = False, words: bool = True, full: int = 0
) -> Prefixed:
    return Prefixed(detector, tuple(begins.split()), re.compile(body), random, words, full)


_WORD, _DASHED = "[A-Za-z0-9]", "[A-Za-z0-9_-]"
PREFIXED: Final = (
    _kind("aws-access-key", "AKIA ASIA", "[0-9A-Z]{16}(?![0-9A-Z])", full=16),
    _kind("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", "[A-Za-z0-9_]{20,}", full=36),
    _kind("github-token", "github_pat_", "[A-Za-z0-9_]{20,}", full=82),
    _kind("gitlab-token", "glpat- gldt- glrt- glptt- glcbt- glsoat- glagent- gloas-", "[A-Za-z0-9_.-]{16,}"),
    _kind("huggingface-token", "hf_ api_org_", _WORD + "{24,}", random=True, full=34),
    _kind("anthropic-key", "sk-ant-", _DASHED + "{16,}"),
    _kind("openai-key", "sk-proj- sk-svcacct- sk-admin- sk-or-", _DASHED + "{20,}"),
    _kind("openai-key", "sk-", _DASHED + "{20,}", random=True, words=False),
    _kind("google-key", "AIza", _DASHED + "{30,}", full=35),
    _kind("google-key", "ya29. GOCSPX-", r"[A-Za-z0-9_.-]{20,}", random=True),
    _kind(
        "slack-token", "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", "[A-Za-z0-9%._-]{10,}"
    ),
    _kind("slack-webhook", "hooks.slack.com/", "(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
    _kind("discord-webhook", "discord.com/api/webhooks/ discordapp.com/api/webhooks/", r"\d{10,}/[\w-]{30,}"),
    _kind("npm-token", "npm_", _WORD + "{30,}", full=36),
    _kind("pypi-token", "pypi-", _DASHED + "{32,}", random=True, words=False),
    _kind("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", _WORD + "{32,}", full=64),
    _kind("stripe-key", "sk_live_ rk_live_ sk_test_ rk_test_ whsec_", _WORD + "{16,}", random=True),
    _kind("sendgrid-key", "SG.", rf"{_DASHED}{{16,}}\.{_DASHED}{{16,}}"),
    _kind("square-token", "sq0atp- sq0csp-", _DASHED + "{20,}"),
    _kind("shopify-token", "shpat_ shpss_ shpca_ shppa_", "[A-Fa-f0-9]{24,}"),
    _kind("vault-token", "hvs. hvb.", _DASHED + "{20,}", random=True),
    _kind("docker-token", "dckr_pat_", _DASHED + "{20,}"),
    _kind("artifactory-token", "AKC", _WORD + "{40,}", random=True),
    _kind("age-key", "AGE-SECRET-KEY-1", "[A-Z0-9]{20,}"),
    _kind("databricks-token", "dapi", "[a-f0-9]{32}(?![A-Za-z0-9])"),
    _kind("atlassian-token", "ATATT3", r"[A-Za-z0-9_=-]{40,}"),
    _kind("azure-storage-key", "AccountKey= SharedAccessKey=", "[A-Za-z0-9+/]{40,}={0,2}"),
    _kind("azure-signature", "sig=", "(?:[A-Za-z0-9+/]|%[0-9A-Fa-f]{2}){40,}={0,2}", random=True),
    _kind("mailgun-key", "key-", "[0-9a-f]{32}(?![A-Za-z0-9])"),
    _kind("model-service-key", "gsk_ xai- r8_ pplx- nvapi-", _DASHED + "{30,}", random=True),
    _kind(
        "service-token",
        "glsa_ tskey- lin_api_ ntn_ sbp_ rubygems_ figd_ PMAK-",
        _DASHED + "{24,}",
        random=True,
    ),
)
"""Own rules, in the order of their names' precedence: `sk-ant-` is asked before `sk-`."""


def is_whole(token: str) -> bool:
    """True for a token that has all of its characters, of a kind whose tokens have equally many."""
    kinds = ((kind, begin) for kind in PREFIXED if kind.full for begin in kind.begins)
    return any(token.startswith(begin) and len(token) - len(begin) >= kind.full for kind, begin in kinds)


class Plugin(NamedTuple):
    """One plugin of detect-secrets that is used, and where its expressions are tried."""

    module: str
    name: str
    detector: str
    group: int
    """Group of the expressions that holds the secret; 0: all of the match."""
    begins: tuple[str, ...] = ()
    """Texts, one of which every match holds."""
    lengths: tuple[int, ...] = ()
    """Else the lengths of the run of letters, digits, `_` and `-` that every match holds."""
    random: bool = False


PLUGINS: Final = (
    Plugin("aws", "AWSKeyDetector", "aws-access-key", 0, ("ABIA", "ACCA", "A3T"), random=True),
    Plugin("artifactory", "ArtifactoryDetector", "artifactory-token", 0, ("AKC", "AP"), random=True),
    Plugin("azure_storage_key", "AzureStorageKeyDetector", "azure-storage-key", 0, ("AccountKey=",)),
    Plugin("cloudant", "CloudantDetector", "cloudant-credentials", 1, lengths=(24, 64)),
    Plugin("discord", "DiscordBotTokenDetector", "discord-token", 0, lengths=(24, 25, 26)),
    Plugin(
        "github_token", "GitHubTokenDetector", "github-token", 0, ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
    ),
    Plugin("gitlab_token", "GitLabTokenDetector", "gitlab-token", 0, ("GR1348941", "glft-", "glimt-")),
    Plugin("ibm_cloud_iam", "IbmCloudIamDetector", "ibm-key", 1, lengths=(44,), random=True),
    Plugin("ibm_cos_hmac", "IbmCosHmacDetector", "ibm-key", 1, lengths=(48,)),
    Plugin("jwt", "JwtTokenDetector", "jwt", 0, ("eyJ",)),
    Plugin("mailchimp", "MailchimpDetector", "mailchimp-key", 0, lengths=(36, 37)),
    Plugin("npm", "NpmDetector", "npm-token", 1, ("_authToken=",)),
    Plugin("openai", "OpenAIDetector", "openai-key", 0, ("T3BlbkFJ",)),
    Plugin("pypi_token", "PypiTokenDetector", "pypi-token", 0, ("pypi-AgE",)),
    Plugin("sendgrid", "SendGridDetector", "sendgrid-key", 0, ("SG.",)),
    Plugin("slack", "SlackDetector", "slack-token", 0, ("xox", "hooks.slack.com")),
    Plugin("softlayer", "SoftlayerDetector", "softlayer-key", 1, lengths=(64,)),
    Plugin("square_oauth", "SquareOAuthDetector", "square-token", 0, ("sq0csp-",)),
    Plugin("stripe", "StripeDetector", "stripe-key", 0, ("k_live_",)),
    Plugin("telegram_token", "TelegramBotTokenDetector", "telegram-token", 0, lengths=(35,)),
    Plugin("twilio", "TwilioKeyDetector", "twilio-key", 0, lengths=(34,), random=True),
)
"""No plugin that goes by entropy or by words, and nothing that asks a network. Private keys and addresses
have rules of their own: the plugins tell where a key begins, and take placeholders for passwords."""

HINTS: Final = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "bearer")
"""Small letters, one of which is in every name of a secret."""
_STRONG = re.compile(
    r"(?:pass(?:wor[dt]|wd|phrase|code)?|pwd|secrets?|tokens?|credentials?|bearer|(?:^|[_.-])auth"
    r"|(?:api|access|secret|private|auth|encrypt(?:ion)?|signing|sign|master|account|storage|client|app"
    r"|service|session|shared|ssh|deploy|admin|subscription|webhook|hmac|jwt|license|consumer)[_.-]?keys?)"
    r"(?:[_.-]?(?:base|value|val|prod|production|dev|staging|live|main|primary|secondary|old|new|v?\d{1,2}))*$",
    re.IGNORECASE,
)
_ENV_KEY = re.compile(r"(?:[A-Z0-9]+_)+KEY(?:_BASE|_\d+)?$")
_PASSWORD = re.compile(r"pass|pwd", re.IGNORECASE)
_ENV_SECRET = re.compile(
    r"(?:^|[_-])(?:TOKEN|[A-Z]*KEYS?|SECRETS?|PASS(?:WORD|WD|PHRASE|CODE)?|PWD|CREDENTIALS?|PAT|AUTH|COOKIE|DSN)(?:$|[_-])",
    re.IGNORECASE,
)
_ENV_HARMLESS = re.compile(
    r"(?:_|^)(?:FILE|PATH|DIR|SOCK|ENV|NAME|ID|URL|URI|HOST|PORT|MODE|TYPE|LAYOUT)$", re.IGNORECASE
)


def is_secret_name(name: str) -> bool:
    """True for the name of a variable, field or flag whose value is kept secret."""
    return _STRONG.search(name) is not None or _ENV_KEY.search(name) is not None


def is_password_name(name: str) -> bool:
    """True where people choose the value themselves."""
    return _PASSWORD.search(name) is not None


def is_secret_variable(name: str, value: str) -> bool:
    """True for a variable of the environment whose value must not be recorded: 8 characters, no path."""
    names = _ENV_SECRET.search(name) is not None and _ENV_HARMLESS.search(name) is None and name != "PWD"
    return (
        names and len(value) >= 8 and not value.startswith(("/", "./", "~/")) and not name.endswith("OLDPWD")
    )


_PLACEHOLDER = re.compile(
    r"change[-_ ]?(?:me|this|it)|example|sample|placeholder|dummy|fake|mock|testing|tests?|your|foo|bar|baz"
    r"|qux|spam|eggs|x{3,}|\*{3,}|\.{3,}|-{3,}|passw(?:or)?d|pass|secret|token|api|key|user(?:name)?|admin|root"
    r"|guest|none|null|true|false|todo|redacted|removed|default|insert|here|replace|string|value|valid|invalid|wrong"
    r"|correct|hidden|my|the|abcd?e?f?g?h?|0?12345?6?7?8?9?0?|python|postgres(?:ql)?|mysql|localhost|dev",
    re.IGNORECASE,
)
_MADE_LATER = re.compile(
    r"^[$%@*{<(\[!&]|\$\{|\$\(|\{\{|\}\}|\{[\w.!:]*\}|<[^>]*>|%\(|%[sdr]\b|environ|getenv|process\.env|\bENV\[|REDACTED|://"
)
_PATH = re.compile(
    r"^(?:\.{1,2}/|~/|/[a-z][a-z0-9_.-]+(?:/|$)|[A-Za-z]:\\)|^[\w./-]+\.(?:py|js|ts|json|ya?ml|toml|txt|pem|key|crt|html?|md|cfg|ini|sh)$"
)
_DOTTED = re.compile(r"^[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+$")
_WORDS = re.compile(r"[A-Z][a-z]{3,}|[a-z]{4,}|[A-Z]{4,}|(?<![A-Za-z0-9])[a-z]{2,3}(?![A-Za-z0-9])")
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_CLUSTER = re.compile(r"[^aeiouy]{5}|[jqxz][^aeiouh]|[aeiou]{4}", re.IGNORECASE)
_PACKED = re.compile(r"[A-Za-z0-9+/]+={0,2}$")
_SYMBOLS = frozenset("!@#$%^&*?~+=")


def is_placeholder(value: str, least: int = 6) -> bool:
    """True for what stands for a secret: `changeme`, `<token>`, `${TOKEN}`, `os.environ[...]`, `xxxx`."""
    if _MADE_LATER.search(value) or _PATH.search(value) or _DOTTED.match(value):
        return True
    left = re.sub(r"[\W_]", "", _PLACEHOLDER.sub("", value))
    if len(left) < least or len(set(left)) < min(4, least):
        return True
    steps = sum(abs(ord(one) - ord(two)) <= 1 for one, two in pairwise(value))
    return steps > 0.6 * len(value)


def is_random(value: str, *, words: bool = False, least: int = 8) -> bool:
    """True for what a person or a program made up to be hard to guess.

    `words`: words with digits or signs among them are enough, as in passwords that people choose.
    """
    if len(value) < least or is_placeholder(value, min(6, least - 1)) or _entropy(value) < 2.5:
        return False
    digits = sum(char.isdigit() for char in value)
    signs = sum(char in _SYMBOLS for char in value)
    letters = sum(char.isalpha() for char in value)
    if not letters:
        return digits >= 16 and value.isdigit() and not words
    turns = len(re.findall(r"[a-z][A-Z]", value))
    if words:
        return digits + signs > 0 or 10 * turns >= len(value)
    kinds = ["l" if char.islower() else "u" if char.isupper() else "d" for char in value if char.isalnum()]
    changes = sum(one != other for one, other in pairwise(kinds))
    if digits > 1 and changes > 0.35 * len(value):
        return True
    if len(value) >= 20 and turns > 1 and _PACKED.match(value) and wordiness(value) <= 0.6:
        return True  # as many keys are in base64
    return wordiness(value) <= 0.6 and (digits + signs > 0 or (len(value) >= 10 and 10 * turns >= len(value)))


def wordiness(value: str) -> float:
    """Share of a value that can be spoken: words of at least four letters, or of three between signs."""
    words = (found[0] for found in _WORDS.finditer(value))
    return sum(len(word) for word in words if _VOWEL.search(word) and not _CLUSTER.search(word)) / len(value)


def has_kinds(value: str, count: int = 3) -> bool:
    """True with so many of: small letters, capitals, digits, signs."""
    kinds = (str.islower, str.isupper, str.isdigit, _SYMBOLS.__contains__)
    return sum(any(kind(char) for char in value) for kind in kinds) >= count


def _entropy(value: str) -> float:
    """Bits a character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())
