"""The programs that run examples in other languages: each tells its results as TAP lines."""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from feedback.example import Example
from memory.records import Check

_RUNNERS = Path(__file__).with_name("runners")
_PROGRAMS = {"java": "java.txt", "cpp": "run.cpp", "rs": "run.rs", "go": "go.txt"}
_MARK = "//EXAMPLES"


def program_check(examples: Sequence[Example], path: str, language: str, folder: str, name: str) -> Check:
    """A check of kind `tap` for a file in js, ts, php, java, cpp, rs or go."""
    where = shlex.quote(path)
    if program := _PROGRAMS.get(language):
        lines = [_LINES[language](number, item, path) for number, item in enumerate(examples, 1)]
        text = _read(program).replace(_MARK, "\n".join(lines))
        files = {program: text, "compiled.sh": _read("compiled.sh"), "count": f"{len(examples)}\n"}
        command = f"sh {folder}/compiled.sh {language} {where} {folder}"
    else:
        cases = [[item.call, item.expected, _label(item.call)] for item in examples]
        runner, start = ("run.php", "php -d display_errors=0") if language == "php" else ("run.js", "node")
        files = {runner: _read(runner), "cases.json": json.dumps(cases)}
        command = f"{start} {folder}/{runner} {where} {folder}/cases.json"
    return Check(
        name=name,
        command=command,
        kind="tap",
        files={f"{folder}/{file}": text for file, text in files.items()},
        origin="examples",
    )


def _read(name: str) -> str:
    return (_RUNNERS / name).read_text(encoding="utf-8")


def _label(text: str) -> str:
    return " ".join(text.split())[:300]


def _told(number: int, example: Example) -> str:
    """Number, call and expected value as arguments; JSON's strings are those of all these languages."""
    texts = (json.dumps(_label(item), ensure_ascii=False) for item in (example.call, example.expected))
    return f"{number}, {', '.join(texts)}"


def _java(number: int, example: Example, path: str) -> str:
    """Static methods are called on the class of the file."""
    call = re.sub(r"^(?!new\b)(?=[A-Za-z_]\w*\()", f"{PurePosixPath(path).stem}.", example.call)
    return (
        f"/*example {number}*/ example({_told(number, example)}, () -> ({call}), () -> ({example.expected}));"
    )


def _cpp(number: int, example: Example, _path: str) -> str:
    return (
        f"/*example {number}*/ adi_examples::example({_told(number, example)}, [](std::ostream& told) {{ "
        f"auto got = ({example.call}); const auto want = ({example.expected}); "
        "bool right = adi_examples::same(got, want); "
        'if (!right) { told << "got "; adi_examples::put(told, got, 0); } return right; });'
    )


def _rust(number: int, example: Example, _path: str) -> str:
    told = _told(number, example)
    return f"/*example {number}*/ failed |= !adi_example({told}, || ({example.call}, {example.expected}));"


def _go(number: int, example: Example, _path: str) -> str:
    run = f"func() (interface{{}}, interface{{}}) {{ return {example.call}, {example.expected} }}"
    return f"/*example {number}*/ adiExample(t, {_told(number, example)}, {run})"


_LINES: dict[str, Callable[[int, Example, str], str]] = {"java": _java, "cpp": _cpp, "rs": _rust, "go": _go}
