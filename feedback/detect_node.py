"""The checks of JavaScript and TypeScript repositories."""

import re
from collections.abc import Sequence

from feedback.files import Files, text_of
from memory.records import Check
from sandbox.manifest import Unreadable, read_json

_PLACEHOLDER = "no test specified"
_TEST_FILES = 200
_TEST = re.compile(
    r"(?:.*/)?(?:test|test-[^/]+|[^/]+[._-]test|[^/]+\.spec)\.[cm]?[jt]sx?|(?:.*/)?tests?/.+\.[cm]?[jt]sx?"
)
_NODE_TEST = re.compile(r"""['"]node:test['"]""")
_GLOBALS = re.compile(r"^\s{0,8}(?:describe|it|test)\(", re.M)
_MOCHA = re.compile(r"""['"](?:mocha|chai)['"]|\bbefore\(""")
# The output goes beside the repository; package.json tells there what kind of modules they are. The image's
# types of Node.js are named only here: a program that declares some itself would clash with them.
_COMPILED = (
    "rm -rf /tmp/js && mkdir /tmp/js && {{ [ ! -e package.json ] || cp package.json /tmp/js/; }} && "
    "tsc -p . --noEmit false --skipLibCheck --outDir /tmp/js --inlineSourceMap "
    "$([ -e node_modules/@types ] || echo --typeRoots /usr/share/nodejs/@types --types node) && "
    "node --enable-source-maps --test $(find /tmp/js -name '{pattern}')"
)


def detect_node(files: Files, paths: Sequence[str]) -> Check | None:
    """`npm test`, or where no such script is the runner that the tests are written for."""
    package = _package(files)
    scripts = package.get("scripts")
    script = scripts.get("test", "") if isinstance(scripts, dict) else ""
    if isinstance(script, str) and script.strip() and _PLACEHOLDER not in script:
        return Check(name="npm test", command="npm test", kind="npm")
    tests = [path for path in paths if _TEST.fullmatch(path) and "node_modules/" not in path]
    return _runner(tests[:_TEST_FILES], files, paths, package) if tests else None


def detect_types(paths: Sequence[str]) -> Check | None:
    """The type check of a TypeScript project, for where nothing else could prove a change."""
    return Check(name="tsc", command="tsc -p . --noEmit", kind="npm") if "tsconfig.json" in paths else None


def _package(files: Files) -> dict[str, object]:
    """package.json, empty when it is absent or no JSON object."""
    try:
        package = read_json(text_of(files, "package.json") or "{}")
    except Unreadable:
        return {}
    return package if isinstance(package, dict) else {}


def _runner(
    tests: Sequence[str], files: Files, paths: Sequence[str], package: dict[str, object]
) -> Check | None:
    text = "\n".join(text_of(files, path) for path in tests)
    typed = [path for path in tests if path.endswith(("ts", "tsx"))]
    if _NODE_TEST.search(text):
        if not typed:
            return Check(name="node --test", command="node --test", kind="npm")
        compiled = _COMPILED.format(pattern="*.spec.*js" if ".spec." in typed[0] else "*test*.*js")
        project = "tsconfig.json" in paths
        return Check(name="tsc and node --test", command=compiled, kind="npm") if project else None
    wanted = [package.get(key) for key in ("dependencies", "devDependencies")]
    for name, settings in (("jest", "jest.config."), ("mocha", ".mocharc")):
        named = any(isinstance(group, dict) and name in group for group in wanted)
        if named or name in package or any(path.startswith(settings) for path in paths):
            return Check(name=name, command=name, kind="npm")
    if typed or not _GLOBALS.search(text):
        return None
    name = "mocha" if _MOCHA.search(text) else "jest"
    return Check(name=name, command=name, kind="npm")
