"""The checks of C++, Go, Java, PHP and Rust repositories, and of those that have a Makefile alone."""

import re
from collections.abc import Sequence

from feedback.files import Files, text_of
from memory.records import Check

_FILES = 200
"""Files of one kind that are looked into."""
_CTEST = re.compile(
    r"^[ \t]*(?:enable_testing|add_test|\w+_discover_tests)[ \t]*\(|^[ \t]*include[ \t]*\(\s*CTest\b",
    re.M | re.I,
)
_FETCH = re.compile(r"\bFetchContent_", re.I)
_JUNIT = re.compile(r"^[ \t]*import\s+(?:static\s+)?(?:org\.junit\b|junit\.framework\b)", re.M)
_PHPUNIT = ("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml")
_AUTOLOAD = "vendor/autoload.php"


def detect_go(paths: Sequence[str]) -> Check | None:
    if "go.mod" not in paths or not any(path.endswith("_test.go") for path in paths):
        return None
    return Check(name="go test", command="go test ./...", kind="go")


def detect_cargo(paths: Sequence[str]) -> Check | None:
    return Check(name="cargo test", command="cargo test", kind="cargo") if "Cargo.toml" in paths else None


def detect_ctest(files: Files, paths: Sequence[str]) -> Check | None:
    """Configure, build and run beside the repository; a framework it would fetch is the installed one."""
    if "CMakeLists.txt" not in paths:
        return None
    lists = [path for path in paths if path.endswith(("CMakeLists.txt", ".cmake"))][:_FILES]
    text = "\n".join(text_of(files, path) for path in lists)
    if not _CTEST.search(text):
        return None
    fetch = " -DFETCHCONTENT_TRY_FIND_PACKAGE_MODE=ALWAYS" if _FETCH.search(text) else ""
    command = (
        f"cmake -S . -B /tmp/build{fetch} && cmake --build /tmp/build -j 2 && "
        "ctest --test-dir /tmp/build --output-on-failure --no-tests=error"
    )
    return Check(name="ctest", command=command, kind="ctest")


def detect_junit(files: Files, paths: Sequence[str]) -> Check | None:
    """The image's own runner: Maven and Gradle fetch their plugins, which no sandbox can."""
    java = sorted((path for path in paths if path.endswith(".java")), key=_tests_first)[:_FILES]
    if not any(_JUNIT.search(text_of(files, path)) for path in java):
        return None
    return Check(name="junit", command="junit", kind="junit")


def _tests_first(path: str) -> bool:
    return "test" not in path.lower()


def detect_phpunit(paths: Sequence[str]) -> Check | None:
    """PHPUnit, with the autoloader that Composer makes of composer.json without fetching anything."""
    tests = [path for path in paths if path.endswith("Test.php") and not path.startswith("vendor/")]
    configured = any(name in paths for name in _PHPUNIT)
    if not tests:
        return None
    command = "phpunit"
    if not configured:
        folders = sorted({path.split("/")[0] for path in tests if "/" in path})
        place = folders[0] if len(folders) == 1 and all("/" in path for path in tests) else "."
        command += f" {place}" if re.fullmatch(r"[\w.-]+", place) else " ."
    if "composer.json" in paths and _AUTOLOAD not in paths:
        loaded = command if configured else command.replace("phpunit", f"phpunit --bootstrap {_AUTOLOAD}", 1)
        command = f"{{ [ -e {_AUTOLOAD} ] || composer dump-autoload --quiet; }} && {loaded}"
    return Check(name="phpunit", command=command, kind="phpunit")


def detect_make(files: Files, paths: Sequence[str]) -> Check | None:
    """`make test` or `make check`."""
    for name in ("GNUmakefile", "makefile", "Makefile"):
        if name in paths:
            text = text_of(files, name)
            for target in ("test", "check"):
                if re.search(rf"^{target}[ \t]*:(?!=)", text, re.M):
                    return Check(name=f"make {target}", command=f"make {target}", kind="make")
            return None
    return None
