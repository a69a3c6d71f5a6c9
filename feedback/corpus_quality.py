"""Which files are no code that a person wrote: rules by name and by text, after those of the public corpora.

Sources of the limits: the filters of The Stack and StarCoder (bigcode-dataset, `preprocessing`: mean line of
at most 100 characters, longest of at most 1000, a quarter of them letters or digits, no XML, small JSON and
YAML, HTML with text in it), those of CodeParrot (characters a token, generated files by their first lines),
and the list of generated files of GitHub's linguist. Limits of our own say so.
"""

import ast
import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Final

from feedback.corpus_language import extension, kind_of
from feedback.corpus_rules import in_folders

MEAN_LINE: Final = 100
LONGEST_LINE: Final = 1000
"""Characters; The Stack's. Prose is exempt: there a paragraph is a line."""
LETTERS: Final = 0.25
"""Least share of letters and digits among all characters; The Stack's."""
DATA_CHARS: Final = (50, 5000)
"""Fewest and most characters of a JSON, YAML, TOML or INI file; StarCoder's, for the first two."""
HTML_TEXT: Final = (100, 0.2)
"""Fewest characters of visible text in HTML, and their least share; StarCoder's."""
ENCODED: Final = (1024, 0.5)
"""Longest stretch of encoded bytes, in characters, and their largest share of a file; StarCoder 2's."""
CHARS_A_TOKEN: Final = (1.5, 15.0)
"""Characters a token, counted without a tokenizer: CodeParrot's lower limit, an upper one of our own."""
DIGITS: Final = 0.5
"""Largest share of digits among the characters that are no white space; our own."""
SHORT: Final = 40
"""Fewest characters that are no white space; our own."""
_MEASURED: Final = 200
"""Characters below which shares tell nothing."""
_MARKED_LINES: Final = 5

LOCK_FILES: Final = frozenset(
    {
        "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock",
        "poetry.lock", "uv.lock", "pdm.lock", "pipfile.lock", "conda-lock.yml", "pylock.toml", "cargo.lock",
        "gemfile.lock", "composer.lock", "go.sum", "packages.lock.json", "paket.lock", "podfile.lock",
        "mix.lock", "pubspec.lock", "flake.lock", "gradle.lockfile", "deno.lock", ".terraform.lock.hcl",
        "cartfile.resolved", "package.resolved",
    }
)  # fmt: skip
VENDORED: Final = frozenset(
    {
        "node_modules", "bower_components", "vendor", "vendored", "_vendor", "third_party", "third-party",
        "thirdparty", "3rdparty", "external", "externals", "extern", "dist", "site-packages", ".venv",
        "venv", "godeps", "pods", "carthage", ".yarn", ".tox", "__pycache__", "jquery-ui",
    }
)  # fmt: skip
_GENERATED_NAMES = re.compile(
    r".+[._-]min\.(?:js|css|mjs)|.+\.(?:bundle|chunk)\.(?:js|css)|.+_pb2(?:_grpc)?\.pyi?|.+\.pb(?:\.gw)?\.(?:go|cc|h)"
    r"|.+_pb\.(?:js|d\.ts|rb)|.+\.(?:designer|g|g\.i)\.cs|.+\.(?:g|freezed|gr)\.dart|zz_generated\..+|.+_string\.go"
    r"|moc_.+\.cpp|ui_.+\.h|qrc_.+\.(?:py|cpp)|.+\.js\.map|.+\.css\.map|parser\.tab\.[ch]|lex\.yy\.c|mockgen_.+\.go"
)
_MARKERS = re.compile(
    r"(?i)\bauto-?generated\b|\bautomatically\s+generated\b|\bgenerated\s+automatically\b|@generated\b"
    r"|\bthis\s+file\s+(?:is|was|has\s+been)\s+generated\b|\bcode\s+generated\s+(?:by|from)\b|\bgenerated\s+by\b.*\bdo\s+not\b"
    r"|\bdo\s+not\s+(?:edit|modify)\b.*\bgenerated\b|\bgenerated\s+by\s+(?:the\s+)?(?:protocol\s+buffer|swig|cython|antlr|bison|flex)\b"
)
_BOILERPLATE: Final = frozenset(
    {
        ".editorconfig", ".eslintrc.json", ".prettierrc.json", "tsconfig.json", "jsconfig.json",
        "tslint.json", "tsconfig.base.json", ".pre-commit-config.yaml", ".readthedocs.yml",
        ".readthedocs.yaml", "mkdocs.yml", ".travis.yml", "appveyor.yml", ".codecov.yml", "codecov.yml",
        "dependabot.yml", "renovate.json", "funding.yml", "babel.config.js", ".babelrc.js", ".eslintrc.js",
        "jest.config.js", "postcss.config.js", "tailwind.config.js", "mypy.ini", "tox.ini", "pytest.ini",
        "setup.cfg", ".flake8", ".pylintrc", "pylintrc", ".coveragerc", "gradle-wrapper.properties",
        "gradle.properties", "composer.json", "lerna.json", "angular.json", "nx.json", "launch.json",
        "settings.json", "extensions.json", ".rubocop.yml", ".clang-format", ".goreleaser.yml",
    }
)  # fmt: skip
_DATA_ENDS: Final = frozenset({"geojson", "svg", "plist", "resx"})
_BLOB = re.compile(r"""(?:[A-Za-z0-9+/_-]{40,}+={0,2}+["'`,;\s\\]*+)++""")
_HEX = re.compile(r"""(?:(?:0[xX]|\\[xX])[0-9a-fA-F]{2,16}+[uUlL"',;\s]*+){8,}+""")
_ESCAPES = re.compile(r"(?:\\u\{?[0-9a-fA-F]{4,6}+\}?){8,}+")
_TOKEN = re.compile(r"[^\W\d_]++|\d|([^\w\s]|_)\1*+")

Rule = Callable[[str, str, str], bool]
"""Path, language, text: True where the file is to go."""


def by_name(path: str, said: dict[str, bool]) -> str:
    """Why a file goes for its name alone, or an empty text. `said` is what `.gitattributes` tells of it."""
    name = path.rpartition("/")[2].lower()
    if name in LOCK_FILES:
        return "lock file"
    if said.get("vendored", in_folders(path, VENDORED)):
        return "vendored"
    if said.get("generated", _GENERATED_NAMES.fullmatch(name) is not None):
        return "generated, by its name"
    if name in _BOILERPLATE:
        return "configuration boilerplate"
    return "data file" if extension(path) in _DATA_ENDS else ""


def by_text(path: str, language: str, text: str, said: dict[str, bool]) -> str:
    """Why a file goes for what it holds, or an empty text: the first of the rules that it breaks."""
    for reason, rule in _RULES:
        if reason == "generated, by its first lines" and said.get("generated") is False:
            continue
        if rule(path, language, text):
            return reason
    return ""


def _short(_path: str, _language: str, text: str) -> bool:
    return sum(map(len, text.split())) < SHORT


def _marked(_path: str, _language: str, text: str) -> bool:
    return _MARKERS.search("\n".join(text.split("\n", _MARKED_LINES)[:_MARKED_LINES])[:5000]) is not None


def _encoded(_path: str, _language: str, text: str) -> bool:
    longest, share = ENCODED
    sizes = [len(found[0]) for found in _BLOB.finditer(text) if _mixed(found[0])]
    sizes += [len(found[0]) for rule in (_HEX, _ESCAPES) for found in rule.finditer(text)]
    return max(sizes, default=0) > longest or sum(sizes) > share * max(len(text), _MEASURED)


def _mixed(stretch: str) -> bool:
    """Not a rule of dashes, nor a long name: bytes come out as digits and letters in any order."""
    digits = sum(char.isdigit() for char in stretch)
    return digits > len(stretch) / 25 and any(char.isalpha() for char in stretch)


def _numbers(_path: str, _language: str, text: str) -> bool:
    solid = "".join(text.split())
    return len(solid) >= _MEASURED and sum(map(str.isdigit, solid)) > DIGITS * len(solid)


def _minified(_path: str, language: str, text: str) -> bool:
    """More than half of the text in one long line, where a person would have made many; limits of our own."""
    longest = max(map(len, text.split("\n")))
    code = kind_of(language) in ("code", "markup")
    return code and longest > LONGEST_LINE / 2 and 2 * longest > len(text)


def _long_line(_path: str, language: str, text: str) -> bool:
    return kind_of(language) != "prose" and max(map(len, text.split("\n"))) > LONGEST_LINE


def _long_lines(_path: str, language: str, text: str) -> bool:
    lines = text.splitlines()
    return kind_of(language) != "prose" and sum(map(len, lines)) > MEAN_LINE * max(len(lines), 1)


def _few_letters(_path: str, _language: str, text: str) -> bool:
    return sum(map(str.isalnum, text)) < LETTERS * len(text)


def _xml(_path: str, language: str, text: str) -> bool:
    return language == "Qt Linguist" or (language != "XSLT" and "<?xml version=" in text[:100])


def _data(_path: str, language: str, text: str) -> bool:
    fewest, most = DATA_CHARS
    return kind_of(language) == "data" and not fewest <= len(text) <= most


def _little_text(_path: str, language: str, text: str) -> bool:
    if language != "HTML":
        return False
    fewest, share = HTML_TEXT
    seen = _Seen()
    try:
        seen.feed(text)
    except AssertionError:  # what the parser of the standard library says of some broken declarations
        return True
    count = sum(len(" ".join(part.split())) for part in seen.parts)
    return count < fewest or count < share * len(text)


class _Seen(HTMLParser):
    """The text that a browser would show."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _odd_tokens(_path: str, _language: str, text: str) -> bool:
    """Far from what code has. A token is a run of letters, a digit, or a sign and its repetitions."""
    if len(text) < _MEASURED:
        return False
    fewest, most = CHARS_A_TOKEN
    tokens = sum(1 for _ in _TOKEN.finditer(text))
    return not fewest * tokens <= sum(map(len, text.split())) <= most * tokens


def _unparsed(_path: str, language: str, text: str) -> bool:
    if language != "Python":
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return False


_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("too short", _short),
    ("generated, by its first lines", _marked),
    ("XML", _xml),
    ("encoded bytes", _encoded),
    ("mostly numbers", _numbers),
    ("minified", _minified),
    ("a line above 1000 characters", _long_line),
    ("lines above 100 characters on average", _long_lines),
    ("few letters and digits", _few_letters),
    ("data outside 50 to 5000 characters", _data),
    ("HTML with little text", _little_text),
    ("unusual characters a token", _odd_tokens),
    ("Python that does not parse", _unparsed),
)
"""In order; the reason is that of the first rule that a file breaks."""
REASONS: Final = tuple(reason for reason, _ in _RULES)
