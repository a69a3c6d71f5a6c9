"""What requirements files, pyproject.toml, setup.cfg and setup.py ask for."""

import ast
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sandbox.dependencies import MAX_PACKAGES, Files, Package, Wanted, text
from sandbox.dependencies_poetry import requirement
from sandbox.manifest import MAX_LOCK_CHARS, Unreadable, read_ini, read_toml

_GROUPS = ("test", "tests", "testing", "dev", "develop", "development")
"""Extras and groups that hold what tests need."""
_REQUIREMENTS = re.compile(r"(?:requirements/)?[\w.-]*requirements[\w.-]*\.txt|requirements/[\w.-]+\.txt")
_NOT_FOR_TESTS = re.compile(r"(?:^|[/_.-])(?:docs?|lint|mypy|release)(?:[_.-]|$)")
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_LINE = re.compile(
    r"(?P<name>(?>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?))\s*(?P<extras>\[[\w\s,.-]*\])?"
    r"(?P<version>[^;@\[\]#\"'-]*)(?P<marker>;[\w .<>=!~'\"()*,+-]*)?",
    re.ASCII,
)
_CLAUSE = re.compile(r"\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[\w.*+!]+\s*", re.ASCII)
_MAX_LINE = 4_000
_HASH = re.compile(r"\s--hash[= ]([a-z0-9]+:[0-9a-f]+)")
_SELF = re.compile(r"(?:-e|--editable[= ]?)?\s*\.(?:\[(?P<extras>[\w\s,.-]*)\])?")
_DEPTH = 5
_EDITABLE = {"hatchling": "editables"}
"""What a build backend asks for only when it is called: there is nothing to reach any more then (PEP 660)."""

PLAIN, HASHED, CONSTRAINTS = "plain.txt", "hashed.txt", "constraints.txt"
"""Names of the step's inputs: our own lists, never the repository's files."""


@dataclass(slots=True)
class _Reader:
    """Collects lines that pip may be given."""

    files: Files
    paths: set[str]
    wanted: Wanted
    lines: dict[str, list[str]] = field(default_factory=lambda: {PLAIN: [], HASHED: [], CONSTRAINTS: []})
    seen: set[tuple[str, bool]] = field(default_factory=set)
    locked: dict[str, str] | None = None
    extras: Mapping[str, list[str]] = field(default_factory=dict)
    """The project's own extras."""
    own_name: str = ""

    def text(self, path: str) -> str:
        self.wanted.files[path] = self.files.read(path)
        return text(self.files, path)

    def requirements(self, path: str, *, constraint: bool = False, depth: int = 0) -> None:
        """Read one requirements file and those that it includes."""
        if (path, constraint) in self.seen or depth > _DEPTH:
            return
        self.seen.add((path, constraint))
        joined = re.sub(r"\\\r?\n", " ", self.text(path))
        for raw in joined.splitlines():
            line = re.sub(r"(^|\s)#.*$", "", raw).strip()
            if line:
                self._line(line, path, constraint, depth)

    def _line(self, line: str, path: str, constraint: bool, depth: int) -> None:
        include = re.fullmatch(r"(?:-(?P<short>[rc])|--(?P<long>requirement|constraint))[= ]?\s*(\S+)", line)
        if include:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), include[3]))
            as_constraint = constraint or (include["short"] or include["long"])[0] == "c"
            if target in self.paths:
                self.requirements(target, constraint=as_constraint, depth=depth + 1)
            else:
                self.wanted.leave_out(f"{path}: {include[3]!r} is not in the repository")
            return
        if own := _SELF.fullmatch(line):
            for extra in re.findall(r"[\w.-]+", own["extras"] or ""):
                self.several(self.extras.get(extra, []), f"{path} -> extra {extra}")
        elif line.startswith("-"):
            option = re.split(r"[= ]", line)[0]
            self.wanted.leave_out(f"{path}: {option} is ignored: a repository does not choose where from")
        else:
            self.one(line, path, constraint=constraint)

    def several(self, lines: object, source: str) -> None:
        """Requirements of a list in a configuration file."""
        for line in lines if isinstance(lines, list) else ():
            if isinstance(line, str):
                self.one(line.strip(), source)

    def one(self, line: str, source: str, *, constraint: bool = False) -> None:
        """One requirement; whatever is no plain name with versions is named and left out."""
        hashes = _HASH.findall(f" {line[:_MAX_LINE]}")
        found = _LINE.fullmatch(_HASH.sub("", f" {line[:_MAX_LINE]}").strip())
        version = found["version"].strip().removeprefix("(").removesuffix(")") if found else ""
        if not found or not all(map(_CLAUSE.fullmatch, filter(None, version.rstrip(", ").split(",")))):
            self.wanted.leave_out(f"{source}: {line[:120]!r} is left out: no plain name and version")
            return
        name = _canonical(found["name"])
        if name == self.own_name:
            for extra in re.findall(r"[\w.-]+", found["extras"] or ""):
                self.several(self.extras.get(extra, []), f"{source} -> extra {extra}")
            return
        clean = f"{found['name']}{found['extras'] or ''}{version}{found['marker'] or ''}"
        clean += "".join(f" --hash={value}" for value in hashes)
        kept = self.lines[CONSTRAINTS if constraint else HASHED if hashes else PLAIN]
        if clean in kept or len(kept) >= MAX_PACKAGES:
            return
        kept.append(clean)
        if not constraint:
            unlocked = self.locked is not None and name not in self.locked
            self.wanted.packages.append(Package(found["name"], version, source, unlocked))


def read(files: Files, paths: set[str]) -> Wanted:
    """Requirements of all files together; only static text counts, nothing is run."""
    wanted = Wanted("pypi")
    reader = _Reader(files, paths, wanted)
    _locks(reader)
    project = _toml(reader, "pyproject.toml")
    sections = _ini(reader, "setup.cfg")
    calls = _setup_call(reader)
    _project(reader, project)
    _setup(reader, sections, calls)
    for path in sorted(path for path in paths if _REQUIREMENTS.fullmatch(path)):
        if _NOT_FOR_TESTS.search(path):
            wanted.leave_out(f"{path} is not installed: by its name it is not for tests")
        else:
            reader.requirements(path)
    for path in ("Pipfile", "environment.yml", "conda.yaml"):
        if path in paths:
            wanted.leave_out(f"{path} is not read: list what tests need in requirements.txt")
    wanted.installs_itself = bool(project.get("build-system") or project.get("project") or calls is not None)
    _build_system(reader, project)
    wanted.inputs = {name: "\n".join([*found, ""]).encode() for name, found in reader.lines.items()}
    return wanted


def _canonical(name: str) -> str:
    """PEP 503's form of a name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _toml(reader: _Reader, path: str) -> dict[str, object]:
    if path not in reader.paths:
        return {}
    try:
        return read_toml(reader.text(path), MAX_LOCK_CHARS)
    except Unreadable:
        reader.wanted.leave_out(f"{path} is no valid TOML and is not read")
        return {}


def _table(value: object, *names: str) -> dict[str, object]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _locks(reader: _Reader) -> None:
    """Versions of a lock file become constraints, and unknown names are told."""
    path = next((name for name in _LOCKS if name in reader.paths), "")
    if not path:
        return
    document = _toml(reader, path)
    entries = document.get("package") or document.get("packages")
    versions: dict[str, set[str]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            version = entry.get("version")
            versions.setdefault(_canonical(entry["name"]), set()).add(str(version or ""))
    reader.locked = {name: found.pop() if len(found) == 1 else "" for name, found in versions.items()}
    for name, version in reader.locked.items():
        if re.fullmatch(r"[0-9][\w.!+-]*", version):
            reader.one(f"{name}=={version}", path, constraint=True)


def _project(reader: _Reader, document: dict[str, object]) -> None:
    """The [project] table (PEP 621) and [dependency-groups] (PEP 735)."""
    project = _table(document, "project")
    name, dynamic = project.get("name"), project.get("dynamic")
    reader.own_name = _canonical(name) if isinstance(name, str) else ""
    optional = _table(project, "optional-dependencies")
    reader.extras = {key: value for key, value in optional.items() if isinstance(value, list)}
    reader.several(project.get("dependencies"), "pyproject.toml dependencies")
    for group in sorted(set(reader.extras) & set(_GROUPS)):
        reader.several(reader.extras[group], f"pyproject.toml extra {group}")
    groups = _table(document, "dependency-groups")
    for group in sorted(set(groups) & set(_GROUPS)):
        reader.several(list(_members(groups, group, 0)), f"pyproject.toml group {group}")
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        reader.wanted.leave_out(
            "pyproject.toml computes its dependencies: only what other files list is read"
        )
    poetry = _table(document, "tool", "poetry")
    named = {group: _table(poetry, "group", group, "dependencies") for group in _GROUPS}
    for part, table in {"": _table(poetry, "dependencies"), **named}.items():
        _poetry(reader, f"pyproject.toml poetry {part}".strip(), table)
    _poetry(reader, "pyproject.toml poetry dev", _table(poetry, "dev-dependencies"))


def _poetry(reader: _Reader, source: str, table: Mapping[str, object]) -> None:
    for name, asked in table.items():
        try:
            line = "" if name == "python" else requirement(name, asked)
        except ValueError as error:
            reader.wanted.leave_out(f"{source}: {name[:80]!r} is left out: {error}")
            continue
        if line:
            reader.one(line, source)


def _members(groups: Mapping[str, object], name: str, depth: int) -> Iterator[str]:
    found = groups.get(name)
    for item in found if isinstance(found, list) and depth < _DEPTH else ():
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
            yield from _members(groups, item["include-group"], depth + 1)


def _build_system(reader: _Reader, document: dict[str, object]) -> None:
    """What builds the project itself; setuptools and wheel are in the image."""
    found_only_installed = any(path.startswith("src/") for path in reader.paths)
    if reader.wanted.installs_itself and (reader.wanted.packages or found_only_installed):
        requires = _as_list(_table(document, "build-system").get("requires"))
        helpers = [more for name, more in _EDITABLE.items() if any(name in str(one) for one in requires)]
        reader.several([*requires, *helpers], "pyproject.toml build-system")


def _ini(reader: _Reader, path: str) -> dict[str, dict[str, str]]:
    if path not in reader.paths:
        return {}
    try:
        return read_ini(reader.text(path))
    except Unreadable:
        reader.wanted.leave_out(f"{path} is no valid ini file and is not read")
        return {}


def _setup(
    reader: _Reader, sections: Mapping[str, Mapping[str, str]], calls: Mapping[str, object] | None
) -> None:
    """setup.cfg, and literals in setup.py."""
    options, extras = sections.get("options", {}), sections.get("options.extras_require", {})
    for key in ("install_requires", "tests_require"):
        reader.several(_listed(options.get(key, "")), f"setup.cfg {key}")
    for group in sorted(set(extras) & set(_GROUPS)):
        reader.several(_listed(extras[group]), f"setup.cfg extra {group}")
    for key in ("install_requires", "tests_require", "extras_require"):
        value = (calls or {}).get(key)
        if key == "extras_require":
            value = [line for group in _GROUPS for line in _as_list(_table(value).get(group))]
        reader.several(_as_list(value), f"setup.py {key}")


def _listed(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip() and not line.strip().startswith("#")]


def _as_list(value: object) -> list[object]:
    if isinstance(value, str):
        return list(_listed(value))
    return list(value) if isinstance(value, list | tuple) else []


def _setup_call(reader: _Reader) -> dict[str, object] | None:
    """Literal keywords of the call of setup(); None when there is no setup.py."""
    if "setup.py" not in reader.paths:
        return None
    try:
        tree = ast.parse(reader.text("setup.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    constants = dict(_constants(tree.body))
    found: dict[str, object] = {}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if getattr(call.func, "id", getattr(call.func, "attr", "")) != "setup":
            continue
        for keyword in call.keywords:
            value = keyword.value
            if isinstance(value, ast.Name) and value.id in constants:
                value = constants[value.id]
            try:
                found[keyword.arg or ""] = ast.literal_eval(value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                if keyword.arg in ("install_requires", "tests_require", "extras_require"):
                    reader.wanted.leave_out(
                        f"setup.py computes {keyword.arg}: only what other files list is read"
                    )
    return found


def _constants(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
