"""MultiPL-E: the functions of HumanEval in other languages (Cassano et al. 2022, arXiv:2208.08227)."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt

from agent.suite_data import SuiteRow
from agent.suite_read_functions import given_by, grader
from agent.suite_task import Grader, SuiteTask

SCRIPT = Path(__file__).with_name("grade_joined.py")
GRADE_S = 90.0
"""Compiling may take a minute (the script's own limit), running 20 s."""
PYTHON_S = 10.0

Code = Literal["py", "js", "ts", "java", "cpp", "rs", "php", "go"]


@dataclass(frozen=True, slots=True)
class Language:
    """How a task looks in a language."""

    image: str
    file: str
    body: str
    """Ends the prompt: compiles, and fails when it runs."""
    imports: str = ""
    """Pattern of the prompt's lines that the tests need too."""


LANGUAGES: dict[Code, Language] = {
    "py": Language("python", "solution.py", "    pass\n"),
    "js": Language("node", "solution.js", '    throw new Error("not implemented");\n}\n'),
    "ts": Language("node", "solution.ts", '    throw new Error("not implemented");\n}\n'),
    "java": Language(
        "java",
        "Problem.java",
        '        throw new UnsupportedOperationException("not implemented");\n    }\n}\n',
        r"^import [\w.*]+;",
    ),
    "cpp": Language("cpp", "solution.cpp", "    abort();\n}\n", r"^#include.*"),
    "rs": Language("rust", "solution.rs", "    todo!()\n}\n", r"^use [^;]+;"),
    "php": Language("php", "solution.php", '    throw new Exception("not implemented");\n}\n'),
    "go": Language("go", "solution.go", '    panic("not implemented")\n}\n'),
}
_GO_IMPORTS = re.compile(r"^import \(\n(.*?)^\)\n\n?", re.M | re.S)
_GO_PACKAGE = re.compile(r"^(package \w+?)_test$", re.M)
_DECLARED = re.compile(r"(\w+)\s*\(")


class MultiplERow(SuiteRow):
    """A row of `<language>.jsonl`."""

    task_id: str = Field(pattern=r"^[a-z]+/\d+$")
    number: NonNegativeInt
    language: Code
    prompt: str = Field(min_length=1)
    tests: str = Field(min_length=1)

    def task(self) -> SuiteTask:
        """One file that compiles. Raises ValueError when the prompt does not end in a function."""
        language = LANGUAGES[self.language]
        stub, function, graded = self._python() if self.language == "py" else self._compiled(language)
        where = "docstring" if self.language == "py" else "comment"
        return SuiteTask(
            suite="multipl_e",
            name=f"{self.language}_{self.number}",
            language=self.language,
            prompt=f"Complete the function `{function}` in {language.file}, as its {where} says.",
            files={language.file: stub.encode(), **(javatuples() if self.language == "java" else {})},
            answers=(language.file,),
            grader=graded,
            group=self.language,
        )

    def _python(self) -> tuple[str, str, Grader]:
        stub = f"{self.prompt.rstrip()}\n    pass\n"
        names = re.findall(r"^def (\w+)", stub, re.M)
        if not names:
            raise ValueError("prompt: ends in no function")
        return stub, names[-1], grader(given_by(stub, names[-1]), self.tests, PYTHON_S)

    def _compiled(self, language: Language) -> tuple[str, str, Grader]:
        """Stub, name of the function, grader."""
        prompt = f"{self.prompt.rstrip()}\n"
        found = _DECLARED.search(prompt.splitlines()[-1])
        if found is None or not prompt.endswith("{\n"):
            raise ValueError("prompt: ends in no function")
        imports = re.findall(language.imports, prompt, re.M) if language.imports else []
        if self.language == "go":  # what only the tests use would keep the stub from compiling
            imports = [line.strip() for block in _GO_IMPORTS.findall(prompt) for line in block.splitlines()]
            prompt = _GO_PACKAGE.sub(r"\1", _GO_IMPORTS.sub("", prompt))
        task = {
            "language": self.language, "answer": language.file, "imports": imports, "tests": self.tests,
        }  # fmt: skip
        files = {"hidden_grader.py": SCRIPT.read_bytes(), "hidden_task.json": json.dumps(task).encode()}
        if self.language == "java":
            files |= javatuples()
        return (
            prompt + language.body,
            found[1],
            Grader("python3 -I hidden_grader.py", files, language.image, GRADE_S),
        )


def javatuples() -> dict[str, bytes]:
    """A stand-in for the library `org.javatuples`, which the prompts of Java import."""
    names = ("Unit", "Pair", "Triplet", "Quartet", "Quintet")
    return {
        f"org/javatuples/{name}.java": _java_tuple(name, size).encode() for size, name in enumerate(names, 1)
    }


def _java_tuple(name: str, size: int) -> str:
    """Source of an immutable tuple that compares and prints by its values."""
    slots = range(size)
    types = ", ".join(f"V{i}" for i in slots)
    takes = ", ".join(f"V{i} value{i}" for i in slots)
    values = ", ".join(f"value{i}" for i in slots)
    fields = "".join(f"    private final V{i} value{i};\n" for i in slots)
    sets = "".join(f"        this.value{i} = value{i};\n" for i in slots)
    gets = "".join(f"    public V{i} getValue{i}() {{\n        return value{i};\n    }}\n\n" for i in slots)
    return f"""package org.javatuples;

import java.util.Arrays;
import java.util.List;

public final class {name}<{types}> {{
{fields}
    public {name}({takes}) {{
{sets}    }}

    public static <{types}> {name}<{types}> with({takes}) {{
        return new {name}<>({values});
    }}

{gets}    public Object getValue(int index) {{
        return toList().get(index);
    }}

    public int getSize() {{
        return {size};
    }}

    public List<Object> toList() {{
        return Arrays.asList({values});
    }}

    @Override
    public boolean equals(Object other) {{
        return other instanceof {name} && toList().equals((({name}<{", ".join("?" * size)}>) other).toList());
    }}

    @Override
    public int hashCode() {{
        return toList().hashCode();
    }}

    @Override
    public String toString() {{
        return toList().toString();
    }}
}}
"""
