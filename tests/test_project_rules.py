"""The house rules that reading can check: who imports whom, homes of packages, sizes, prompts, places."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("agent", "feedback", "memory", "model", "sandbox", "tools")

ALLOWED = {
    "memory": {"memory"},
    "sandbox": {"sandbox"},
    "model": {"model", "memory"},
    "tools": {"tools", "memory", "sandbox"},
    "feedback": {"feedback", "memory", "sandbox", "model"},
    "agent": set(PACKAGES),
}
"""Package -> the packages of ours that it may import."""

HOMES = {
    "alembic": ("memory/",),
    "datasets": ("feedback/", "model/train"),
    "datasketch": ("feedback/",),
    "detect_secrets": ("feedback/",),
    "docker": ("sandbox/",),
    "accelerate": ("model/",),
    "fastapi": ("agent/review_", "model/"),
    "gguf": ("model/",),
    "git": ("sandbox/",),
    "httpx2": ("model/",),
    "huggingface_hub": ("feedback/", "model/"),
    "llguidance": ("model/",),
    "jinja2": ("agent/page", "agent/review_", "model/torch_text.py"),
    "junitparser": ("agent/backlog_",),
    "license_expression": ("feedback/",),
    "markupsafe": ("agent/page", "agent/review_"),
    "matplotlib": ("model/train_curves.py",),
    "peft": ("model/",),
    "procrastinate": ("agent/backlog_dispatch.py",),
    "prompt_toolkit": ("agent/cli", "agent/display", "agent/person", "agent/repl"),
    "psycopg": ("memory/",),
    "pyarrow": ("feedback/",),
    "pydantic_settings": ("agent/settings",),
    "rich": ("agent/cli", "agent/display", "agent/person", "agent/repl"),
    "scipy": ("model/gate",),
    "sqlalchemy": ("memory/",),
    "sqlmodel": ("memory/",),
    "tenacity": ("model/retry.py", "sandbox/retry.py"),
    "torch": ("model/",),
    "torchao": ("model/",),
    "transformers": ("model/",),
    "tree_sitter": ("agent/",),
    "trl": ("model/",),
    "typer": ("agent/cli",),
    "uvicorn": ("agent/review_", "model/"),
    "xllamacpp": ("model/",),
    "yaml": ("agent/backlog_",),
}
"""Third-party package -> the only places that may import it, as beginnings of paths."""

FILE_LINES, FUNCTION_LINES = 400, 60


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute dotted names that a file imports, wherever in it, with their line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively"
            yield node.module or "", node.lineno


def wrong_directions(package: str, path: Path) -> list[str]:
    return [
        f"{name_of(path)}:{line} imports {name}"
        for name, line in imported(path)
        if (top := name.partition(".")[0]) in PACKAGES and top not in ALLOWED[package]
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_only(package: str) -> None:
    assert [found for path in sources(package) for found in wrong_directions(package, path)] == []


def test_each_third_party_package_has_one_home() -> None:
    strays = [
        f"{name_of(path)}:{line} imports {name}"
        for path in sources(*PACKAGES)
        for name, line in imported(path)
        if (home := HOMES.get(name.partition(".")[0])) and not name_of(path).startswith(home)
    ]
    assert strays == []


def test_no_import_cycles() -> None:
    """Of modules that import each other when they are imported."""
    modules = {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in sources(*PACKAGES)
    }
    needs = {module: run_time_imports(path) & modules.keys() for module, path in modules.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in sorted(needs[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in modules:
        visit(module, ())


def run_time_imports(path: Path) -> set[str]:
    """Names of modules that are imported when this one is."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in sources(*PACKAGES, "tests"):
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > FILE_LINES:
            large.append(f"{name_of(path)}: {lines} lines, at most {FILE_LINES}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    large.append(
                        f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines, at most {FUNCTION_LINES}"
                    )
    assert large == []


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=name_of)
def test_modules_classes_and_errors_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "no module docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and is_error(node):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def is_error(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id.endswith(("Error", "Exception")) for base in node.bases)


def test_prompts_are_kept_in_one_place() -> None:
    """Text that tells a model who it is belongs to agent/prompts/, read by agent/context.py."""
    told = re.compile(r"\b(You are (a|an|the)|<\|im_start\|>(system|user))", re.IGNORECASE)
    strays = []
    for path in sources(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and told.search(node.value):
                strays.append(f"{name_of(path)}:{node.lineno} {node.value[:60]!r}")
    strays = [stray for stray in strays if not stray.startswith(("agent/context.py:", "agent/prompts/"))]
    assert strays == []


def test_nothing_of_one_machine_is_written_down() -> None:
    """No real home directory, no private address, no package index of one's own, no path to this checkout."""
    told = re.compile(
        r"(?<![\w.])/(?:home/(?!(?:u|user|me|you|ada|alice|bob)\b)[a-z]\w*|Users/\w+|root/\w+)\b"
        r"|\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}\b"
        r"|(?:index-url|trusted-host)[ =]"
        + "".join(rf"|{re.escape(place)}\b" for place in (str(ROOT), sys.prefix) if place.count("/") > 1)
    )
    strays = [
        f"{name}:{number} {found[0]}"
        for name in ours()
        if name != name_of(Path(__file__)) and not name.startswith("benchmarks/results/")
        for number, line in enumerate(
            (ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1
        )
        if (found := told.search(line))
    ]
    assert strays == []


def ours() -> list[str]:
    """The files of the project: those that git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: the project's own files cannot be told from others")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
