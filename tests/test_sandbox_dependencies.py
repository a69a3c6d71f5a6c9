"""What dependency files ask for, what the step is given of it, and the layer that is kept."""

import json
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.dependencies import Wanted, read
from sandbox.dependencies_poetry import requirement
from sandbox.errors import CopyOutRefused
from sandbox.layer import Layer
from tests.prepare_kit import Texts


def python(**files: str) -> Wanted:
    return read(Texts({name.replace("_", ".", 1): text for name, text in files.items()}), "python")


def names(wanted: Wanted) -> list[str]:
    return [package.name for package in wanted.packages]


def lines(wanted: Wanted, name: str = "plain.txt") -> list[str]:
    return wanted.inputs[name].decode().split("\n")[:-1]


def test_requirements_with_includes_constraints_comments_and_hashes() -> None:
    wanted = read(
        Texts(
            {
                "requirements.txt": "-r requirements/base.txt\n-c limits.txt\n"
                "Foo.Bar [extra, x] >=1.0,<2 # why\n"
                "tied==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n",
                "requirements/base.txt": "base~=1.4 ; python_version < '3.12'\n-r ../requirements.txt\n",
                "limits.txt": "base<1.9\n",
                "docs/requirements.txt": "sphinx\n",
                "requirements-docs.txt": "sphinx\n",
            }
        ),
        "python",
    )
    assert sorted(names(wanted)) == ["Foo.Bar", "base", "tied"]
    assert lines(wanted) == ["base~=1.4; python_version < '3.12'", "Foo.Bar[extra, x]>=1.0,<2"]
    assert lines(wanted, "hashed.txt") == ["tied==1 --hash=sha256:aa --hash=sha256:bb"]
    assert lines(wanted, "constraints.txt") == ["base<1.9"]
    assert set(wanted.files) == {"requirements.txt", "requirements/base.txt", "limits.txt"}
    assert wanted.left_out == ["requirements-docs.txt is not installed: by its name it is not for tests"]


@pytest.mark.parametrize(
    "line",
    [
        "git+https://github.com/a/b", "a @ https://x/y.whl", "https://x/y.whl", "./here", "/abs", "-e ./sub",
        "-e git+ssh://x", "file:///etc/passwd", "a b", "a;b;\x00", "a==1 --global-option=x", "a --hash=md5",
        "${TOKEN}", "a>=1 \\", "..", "a==@x", "-i https://x", "--index-url" "=https://x", "-f /tmp",
        "--extra-index-url" " https://u:p@x", "--pre", "reque\u0455ts",
        "--no-binary :all:", "-r ../../etc/passwd", "-r /etc/passwd",
    ],
)  # fmt: skip
def test_what_is_no_name_with_versions_is_named_and_never_passed_on(line: str) -> None:
    wanted = python(requirements_txt=f"first\n{line}\nlast\n")
    if line.endswith("\\"):
        assert names(wanted) == ["first"]  # the line goes on: `a>=1 last` is no requirement
    else:
        assert names(wanted) == ["first", "last"]
    assert len(wanted.left_out) == 1
    assert all(one in {"first", "last"} for one in lines(wanted))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_every_line_that_is_passed_on_begins_with_the_name_that_is_shown(text: str) -> None:
    wanted = python(requirements_txt=text)
    given_lines = lines(wanted) + lines(wanted, "hashed.txt")
    assert all(any(one.startswith(name) for name in names(wanted)) for one in given_lines)
    assert not any("\n" in one or "://" in one or one.startswith("-") for one in given_lines)


def test_pyproject_with_extras_groups_and_itself() -> None:
    document = """
        [build-system]
        requires = ["flit_core>=3"]
        [project]
        name = "My.Project"
        dependencies = ["one", "my-project[fast]"]
        optional-dependencies = {fast = ["quick"], test = ["checker>1"], docs = ["sphinx"]}
        [dependency-groups]
        dev = ["tool", {include-group = "lint"}]
        lint = ["linter"]
        release = ["uploader"]
    """
    wanted = python(pyproject_toml=document, requirements_txt="-e .[docs]\n")
    assert sorted(names(wanted)) == ["checker", "flit_core", "linter", "one", "quick", "sphinx", "tool"]
    assert wanted.installs_itself
    assert wanted.left_out == []


def test_setup_cfg_and_literals_of_setup_py() -> None:
    wanted = python(
        setup_cfg="[options]\ninstall_requires =\n    one>=1\n    # no\n"
        "[options.extras_require]\ntest = two\n",
        setup_py="from setuptools import setup\nNEEDS = ['three']\n"
        "setup(install_requires=NEEDS, extras_require={'dev': ['four']}, tests_require=read('x'))\n",
    )
    assert sorted(names(wanted)) == ["four", "one", "three", "two"]
    assert wanted.left_out == ["setup.py computes tests_require: only what other files list is read"]


def test_a_lock_pins_versions_and_unknown_names_are_flagged() -> None:
    lock = '[[package]]\nname = "known"\nversion = "1.5"\n[[package]]\nname = "deep"\nversion = "0.1"\n'
    wanted = read(Texts({"uv.lock": lock, "requirements.txt": "Known>=1\nknowm\n"}), "python")
    assert [(one.name, one.unlocked) for one in wanted.packages] == [("Known", False), ("knowm", True)]
    assert lines(wanted, "constraints.txt") == ["known==1.5", "deep==0.1"]


@pytest.mark.parametrize(
    "files",
    [{"pyproject.toml": "[project"}, {"setup.cfg": "x"}, {"setup.py": "def ("}, {"uv.lock": "\x00"},
     {"pyproject.toml": "project = 3"}, {"pyproject.toml": "[project]\ndependencies = 3\nname = 4"},
     {"pyproject.toml": "[dependency-groups]\ntest = [{include-group = 'test'}]"},
     {"requirements.txt": "-r requirements.txt"}, {"setup.py": "setup(" * 200}],
)  # fmt: skip
def test_broken_files_ask_for_nothing(files: dict[str, str]) -> None:
    assert not read(Texts(files), "python").anything


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("^1.2.3", "x>=1.2.3,<2"), ("^0.2.3", "x>=0.2.3,<0.3"), ("^0.0.3", "x>=0.0.3,<0.0.4"),
        ("^0", "x>=0,<1"),
        ("~1.2.3", "x>=1.2.3,<1.3"), ("~1", "x>=1,<2"), ("*", "x"), ("1.4", "x==1.4"), ("1.*", "x==1.*"),
        (">=1,<3", "x>=1,<3"), ("^2.0b1", "x>=2.0b1,<3"),
        ({"version": "^1.0", "extras": ["a", "b"]}, "x[a,b]>=1.0,<2"),
    ],
)  # fmt: skip
def test_poetrys_versions(asked: object, line: str) -> None:
    assert requirement("x", asked) == line


def test_poetrys_tables_are_read_and_what_is_from_elsewhere_is_named() -> None:
    wanted = python(
        pyproject_toml="""
            [tool.poetry.dependencies]
            python = "^3.11"
            one = "^1.0"
            extra = {version = "1", optional = true}
            far = {git = "https://x/y"}
            near = {path = "../near"}
            many = "^1 || ^2"
            odd = "^1;x @ https://y"
            [tool.poetry.group.dev.dependencies]
            two = "*"
            [tool.poetry.group.docs.dependencies]
            sphinx = "*"
            [tool.poetry.dev-dependencies]
            three = ">=3"
        """
    )
    assert lines(wanted) == ["one>=1.0,<2", "two", "three>=3"]
    assert [sentence.split("'")[1][:4] for sentence in wanted.left_out] == ["far", "near", "many", "odd^"]


def test_the_key_follows_the_bytes_the_base_and_the_registries() -> None:
    one, two = python(requirements_txt="a\n"), python(requirements_txt="a \n")
    keys = {
        one.key("base", ["r"]), two.key("base", ["r"]), one.key("other", ["r"]), one.key("base", ["s"]),
        one.key("base", []),
    }  # fmt: skip
    assert len(keys) == 5
    assert one.key("base", ["r"]) == python(requirements_txt="a\n", other_md="x").key("base", ["r"])


def node(manifest: object, **others: str) -> Wanted:
    files = {name.replace("_", ".").replace("..", "-"): text for name, text in others.items()}
    return read(Texts({"package.json": json.dumps(manifest), **files}), "node")


def test_package_json_with_a_lock() -> None:
    lock = {"packages": {"": {}, "node_modules/a": {"resolved": "https://registry.npmjs.org/a/-/a-1.tgz"}}}
    wanted = node(
        {"dependencies": {"a": "^1.0.0"}, "devDependencies": {"@scope/b": ">=1 <2 || 3.x", "c": "npm:d@^2"}},
        package__lock_json=json.dumps(lock),
        _npmrc="registry=https://evil.example",
    )
    assert [(one.name, one.unlocked) for one in wanted.packages] == [
        ("a", False),
        ("@scope/b", True),
        ("c", True),
    ]
    assert set(wanted.inputs) == {"package.json", "package-lock.json"}
    assert wanted.left_out == [".npmrc is not used: a repository does not choose registries"]
    assert not wanted.blocked


@pytest.mark.parametrize(
    "version",
    [
        "git+https://x/y",
        "github:a/b",
        "a/b",
        "https://x/y.tgz",
        "file:../x",
        "link:x",
        "workspace:*",
        3,
        None,
    ],
)
def test_a_node_package_from_elsewhere_blocks_the_step(version: object) -> None:
    assert "is no package of a registry" in node({"dependencies": {"a": version}}).blocked


@pytest.mark.parametrize(
    "resolved",
    ["git+ssh://git@x/y", "https://evil.example/a.tgz", "https://registry.npmjs.org@evil.example/a",
     "http://registry.npmjs.org/a", "file:x.tgz"],
)  # fmt: skip
def test_a_lock_that_fetches_from_elsewhere_blocks_the_step(resolved: str) -> None:
    lock = json.dumps({"lockfileVersion": 3, "packages": {"node_modules/a": {"resolved": resolved}}})
    assert "the lock file fetches" in node({"dependencies": {"a": "1"}}, package__lock_json=lock).blocked


def test_other_languages_are_refused_in_one_sentence_that_helps() -> None:
    for path, text, profile in (
        ("go.mod", "module x\n\nrequire github.com/a/b v1.0.0\n", "go"),
        ("Cargo.toml", '[package]\nname = "x"\n\n[dependencies]\nserde = "1"\n', "rust"),
        ("composer.json", '{"require": {"php": ">=8", "monolog/monolog": "^3"}}', "php"),
        ("pom.xml", "<dependencies><dependency></dependency></dependencies>", "java"),
    ):
        assert "does not install yet" in read(Texts({path: text}), profile).blocked, path
    for path, text, profile in (
        ("go.mod", "module x\n\ngo 1.19\n", "go"),
        ("Cargo.toml", '[package]\nname = "x"\n\n[dependencies]\n', "rust"),
        ("composer.json", '{"require": {"php": ">=8"}}', "php"),
    ):
        assert not read(Texts({path: text}), profile).anything, path


def packed(*members: tuple[str, bytes, Mapping[str, object]], data: bytes = b"data") -> list[bytes]:
    """A tar stream of members: name, type, fields."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, fields in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data) if kind == tarfile.REGTYPE else 0
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, BytesIO(data))
    return [stream.getvalue()]


def unpacked(layer: Layer, chunks: list[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=BytesIO(b"".join(layer.pack(chunks)))) as tar:
        return {info.name: info for info in tar.getmembers()}


def test_a_layer_keeps_files_folders_and_links_and_takes_every_right_away() -> None:
    layer = Layer("/deps", 10_000, 100, {"/node_modules": "/deps/node_modules"})
    found = unpacked(
        layer,
        packed(
            ("./", tarfile.DIRTYPE, {}),
            ("./bin", tarfile.DIRTYPE, {"mode": 0o7777, "uid": 1000, "uname": "adi"}),
            ("./bin/tool", tarfile.REGTYPE, {"mode": 0o6777, "uid": 1000, "mtime": 1_700_000_000}),
            ("./bin/" + "x" * 200, tarfile.REGTYPE, {"mode": 0o600}),
            ("./bin/python3", tarfile.SYMTYPE, {"linkname": "/usr/bin/python3"}),
        ),
    )
    assert set(found) == {"deps", "deps/bin", "deps/bin/tool", "deps/bin/" + "x" * 200, "deps/bin/python3",
                          "node_modules"}  # fmt: skip
    assert {(info.uid, info.gid, info.uname) for info in found.values()} == {(0, 0, "")}
    assert found["deps/bin/tool"].mode == 0o755
    assert found["deps/bin/tool"].mtime == 1_700_000_000  # or its bytecode would be stale
    assert found["deps/bin/" + "x" * 200].mode == 0o644
    assert found["deps/bin/python3"].linkname == "/usr/bin/python3"
    assert layer.notes == []


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [
        ("../etc/passwd", tarfile.REGTYPE, {}),
        ("a/../../etc/passwd", tarfile.REGTYPE, {}),
        ("/etc/passwd", tarfile.REGTYPE, {}),
        ("a", tarfile.FIFOTYPE, {}),
        ("a", tarfile.CHRTYPE, {"devmajor": 1}),
        ("a", tarfile.BLKTYPE, {}),
        ("a", tarfile.LNKTYPE, {"linkname": "/etc/passwd"}),
        ("a", tarfile.SYMTYPE, {"linkname": "x" * 3000}),
        ("nowhere/a", tarfile.REGTYPE, {}),
        ("link/a", tarfile.REGTYPE, {}),
        ("file/a", tarfile.REGTYPE, {}),
        ("link", tarfile.REGTYPE, {}),
        ("./link", tarfile.DIRTYPE, {}),
        (".", tarfile.SYMTYPE, {"linkname": "/"}),
    ],
)
def test_a_layer_leaves_out_what_could_reach_the_system(
    name: str, kind: bytes, fields: dict[str, object]
) -> None:
    layer = Layer("/deps", 10_000, 100)
    link = ("./link", tarfile.SYMTYPE, {"linkname": "/etc"})
    chunks = packed(link, ("./file", tarfile.REGTYPE, {}), (name, kind, fields))
    assert set(unpacked(layer, chunks)) == {"deps", "deps/link", "deps/file"}
    assert len(layer.notes) == 1


def test_a_layer_past_its_caps_is_refused() -> None:
    many = packed(*((f"./{number}", tarfile.REGTYPE, {}) for number in range(5)))
    with pytest.raises(CopyOutRefused, match="larger than the cap"):
        list(Layer("/deps", 10_000, 4).pack(many))
    with pytest.raises(CopyOutRefused, match="larger than the cap"):
        list(Layer("/deps", 19, 100).pack(many))
    with pytest.raises(CopyOutRefused, match="ends too early"):
        list(Layer("/deps", 10_000, 100).pack([many[0][:700]]))


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_no_bytes_make_a_layer_that_leaves_its_folder(data: bytes) -> None:
    layer = Layer("/deps", 10_000, 100)
    start = packed(("./a", tarfile.REGTYPE, {}))[0][:1024]
    try:
        made = b"".join(layer.pack([start + data]))
    except CopyOutRefused:
        return
    with tarfile.open(fileobj=BytesIO(made)) as tar:
        assert all(Path(info.name).parts[0] == "deps" for info in tar.getmembers())
