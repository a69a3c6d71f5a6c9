"""Merging an answer into a file: only what changed is taken, in every language."""

# ruff: noqa: E501

import pytest

from agent.syntax import functions, merged, parses

OLD = '''"""Amounts."""

import os


LIMIT = 3  # the most


def show(amount):
    # cents first
    return f"{amount}"


@cached
def keep():
    """What is kept."""
    return os.sep
'''


def test_same_statements_keep_their_text() -> None:
    new = 'import os\nLIMIT = 3\ndef show(amount):\n    return f"{amount}"\n'
    new += '@cached\ndef keep():\n    """What is kept."""\n    return os.sep\n'
    assert merged("a.py", OLD, new) == OLD


def test_new_definitions_and_imports_are_added() -> None:
    new = 'import os\nimport re\n\ndef vat(amount):\n    return re.sub("a", "b", amount)\n'
    assert merged("a.py", OLD, new) == OLD.replace("import os\n", "import os\nimport re\n") + (
        '\n\ndef vat(amount):\n    return re.sub("a", "b", amount)\n'
    )


def test_changed_definitions_replace_their_namesakes() -> None:
    result = merged("a.py", OLD, "LIMIT = 4\n\n@cached\n@twice\ndef keep():\n    return 1\n")
    assert result == OLD.replace("LIMIT = 3", "LIMIT = 4").replace(
        '@cached\ndef keep():\n    """What is kept."""\n    return os.sep\n',
        '@cached\n@twice\ndef keep():\n    """What is kept."""\n    return 1\n',
    )


def test_demonstrations_are_left_out() -> None:
    new = "def show(amount):\n    return amount\n\ndef main():\n    show(1)\n\ndef test_it():\n    assert show(1)\n"
    new += "\nresult = show(3)\nprint(result)\nassert show(1)\nif __name__ == '__main__':\n    main()\n"
    new += "for x in range(3):\n    print(show(x))\n"
    assert merged("a.py", OLD, new) == OLD.replace(
        '    # cents first\n    return f"{amount}"', "    return amount"
    )


def test_helpers_stand_where_the_answer_has_them() -> None:
    new = "def dec(f):\n    return f\n\n@dec\ndef show(amount):\n    return last(amount)\n\ndef last(x):\n    return x\n"
    result = merged("a.py", OLD, new)
    assert result.index("def dec") < result.index("@dec") < result.index("def last")
    assert [span.name for span in functions("a.py", result)] == ["dec", "show", "keep", "last"]


@pytest.mark.parametrize("new", ["", "no code at all (", "def broken(:\n", "print(1)\n", "    return 3\n"])
def test_what_has_no_place_is_told(new: str) -> None:
    assert merged("a.py", OLD, new) == ""


def test_a_file_that_is_not_readable_is_replaced() -> None:
    assert merged("a.py", "", "x = 1\n") == "x = 1\n"
    assert merged("a.py", "not python (", "x = 1\n") == "x = 1\n"
    assert merged("notes.txt", "old\n", "new\n") == "new\n"


def test_line_endings_and_marks_stay() -> None:
    old = "\ufeff" + OLD.replace("\n", "\r\n")
    result = merged("a.py", old, "def show(amount):\n    x = 1\n    return x\n")
    assert result.startswith("\ufeff")
    assert result.count("\n") == result.count("\r\n")
    assert "def show(amount):\r\n    x = 1\r\n    return x\r\n" in result


CLASS = '''class Box:
    """A box."""

    @property
    def size(self):
        """Of the box."""
        raise NotImplementedError

    @size.setter
    def size(self, value):
        self._size = value


class Crate(Box):
    def lid(self):
        pass
'''


def test_a_method_may_come_without_its_class() -> None:
    result = merged("a.py", CLASS, "def lid(self):\n    if self:\n        return 1\n    return 2\n")
    assert result == CLASS.replace(
        "        pass\n", "        if self:\n            return 1\n        return 2\n"
    )


def test_methods_of_one_name_are_told_apart_and_members_are_added() -> None:
    new = "class Box:\n    unit = 1\n    @property\n    def size(self):\n        return self._size\n\n"
    new += "    def open(self):\n        return self.size\n"
    result = merged("a.py", CLASS, new)
    assert result == CLASS.replace("        raise NotImplementedError", "        return self._size").replace(
        '"""A box."""\n', '"""A box."""\n    unit = 1\n'
    ).replace(
        "self._size = value\n",
        "self._size = value\n\n    def open(self):\n        return self.size\n",
    )


LANGUAGES = {
    "a.js": (
        "import { a } from './a.js';\n\n/** Doubles. */\nexport const twice = (x) => {\n"
        "  throw new Error('todo');\n};\n\nclass Set {\n  add(x) {\n    return 0;\n  }\n}\n",
        "import { a, b } from './a.js';\nconst K = 2;\nfunction twice(x) {\n  return help(x) * K;\n}\n"
        "function help(x) { return b(x); }\nclass Set {\n  add(x) {\n    return 1;\n  }\n  size() { return 2; }\n}\n"
        "console.log(twice(2));\nmodule.exports = { twice };\n",
        ["/** Doubles. */\nexport function twice(x) {\n  return help(x) * K;\n}", "import { b } from './a.js';",
         "const K = 2;", "    return 1;\n  }\n\n  size() { return 2; }\n}"],
        ["console", "module", "todo"],
    ),
    "a.ts": (
        "export class Clock {\n  private h: number;\n  constructor(h: number) {\n    this.h = h;\n  }\n"
        "  public toString(): string {\n    throw new Error('x');\n  }\n}\n",
        "toString(): string {\n  return `${this.h}`;\n}\n",
        ["  public toString(): string {\n    return `${this.h}`;\n  }\n}"],
        ["AnswerWithoutClass", "throw"],
    ),
    "a.go": (
        "package p\n\n// Add adds.\nfunc (s *Set) Add(x int) {\n\tpanic(\"todo\")\n}\n\ntype Set struct{}\n",
        "package main\n\nimport (\n\t\"fmt\"\n\t\"sort\"\n)\n\ntype Set struct{ items []int }\n\n"
        "func (s *Set) Add(x int) {\n\ts.items = append(s.items, x)\n\tsort.Ints(s.items)\n}\n\n"
        "func main() {\n\tfmt.Println(1)\n}\n",
        ["package p\n\nimport \"sort\"\n", "// Add adds.\nfunc (s *Set) Add(x int) {\n\ts.items",
         "type Set struct{ items []int }"],
        ["fmt", "main", "panic"],
    ),
    "a.rs": (
        "use std::collections::HashMap;\n\n/// Sum.\npub fn sum(x: &[u8]) -> u32 {\n    todo!()\n}\n\n"
        "pub struct P { x: i32 }\n\nimpl P {\n    pub fn new() -> Self {\n        todo!()\n    }\n}\n",
        "use std::collections::{HashMap, HashSet};\nuse std::fmt;\nfn sum(x: &[u8]) -> u32 {\n    one(x)\n}\n"
        "fn one(x: &[u8]) -> u32 { 1 }\nimpl P {\n    pub fn new() -> Self {\n        P { x: 1 }\n    }\n"
        "    fn y(&self) -> i32 { 2 }\n}\nimpl fmt::Display for P {\n    fn fmt(&self) -> u8 { 3 }\n}\n"
        "fn main() { println!(\"{}\", sum(&[1])); }\n#[cfg(test)]\nmod tests { fn t() {} }\n",
        ["use std::collections::HashMap;\nuse std::collections::HashSet;\nuse std::fmt;\n",
         "/// Sum.\npub fn sum(x: &[u8]) -> u32 {\n    one(x)\n}", "fn one(", "P { x: 1 }\n    }\n\n    fn y(&self)",
         "impl fmt::Display for P"],
        ["main", "todo", "tests"],
    ),
    "A.java": (
        "package a;\n\nimport java.util.List;\n\n/** Doc. */\nclass A {\n    /** Of x. */\n"
        "    public static int f(int x) {\n        throw new UnsupportedOperationException(\"x\");\n    }\n\n"
        "    int f(String s) {\n        return 1;\n    }\n}\n",
        "import java.util.List;\nimport java.util.Map;\n\nint f(int x) {\n    return help(x);\n}\n\n"
        "private static int help(int x) {\n    return 2;\n}\n",
        ["import java.util.List;\nimport java.util.Map;\n",
         "    /** Of x. */\n    public static int f(int x) {\n        return help(x);\n    }",
         "        return 1;\n    }\n\n    private static int help(int x) {\n        return 2;\n    }\n}\n"],
        ["Unsupported"],
    ),
    "B.java": (
        "class Problem {\n    public static int g(int x) {\n    }\n}\n",
        "public class Solution {\n    static final int K = 3;\n    public static int g(int x) {\n        return h(x);\n    }\n"
        "    static int h(int x) {\n        return K;\n    }\n    public static void main(String[] a) {\n        g(1);\n    }\n}\n",
        ["class Problem {", "return h(x);", "    static int h(int x) {\n        return K;\n    }\n}", "static final int K"],
        ["Solution", "main"],
    ),
    "a.c": (
        "#include <stdio.h>\n\n// Adds.\nint add(int a, int b) {\n    return 0;\n}\n",
        "#include <stdio.h>\n#include <stdlib.h>\n\n#define K 2\n\nint add(int a, int b) {\n    return one(a) + K;\n}\n"
        "static int one(int a) {\n    return a;\n}\nint main(void) {\n    printf(\"%d\", add(1, 2));\n}\n",
        ["#include <stdio.h>\n#include <stdlib.h>\n", "#define K 2", "// Adds.\nint add(int a, int b) {\n    return one"],
        ["main", "printf"],
    ),
    "a.cpp": (
        "#include <vector>\n\nnamespace n {\n\n// First.\nlong first(std::vector<long> x) {\n    return 0;\n}\n\n"
        "int A::get() const { return 1; }\n\n}\n",
        "#include <vector>\n#include <set>\nusing namespace std;\n\nlong first(vector<long> x) {\n    return help(x);\n}\n"
        "long help(vector<long> x) {\n    return 1;\n}\nint A::get() const { return 2; }\nint main() { return 0; }\n",
        ["#include <vector>\n#include <set>\nusing namespace std;\n\nnamespace n {\n\nlong help(",
         "// First.\nlong first(vector<long> x) {\n    return help(x);\n}", "int A::get() const { return 2; }\n\n}"],
        ["main"],
    ),
    "a.php": (
        "<?php\n\ndeclare(strict_types=1);\n\n/** Doc. */\nfunction f(int $x): int {\n    throw new Exception('x');\n}\n\n"
        "class K {\n    public function m() {\n        return 0;\n    }\n}\n",
        "use A\\B;\nfunction f(int $x): int {\n    return g($x);\n}\nfunction g($x) { return new B($x); }\n"
        "class K {\n    private $y = 1;\n    function m() {\n        return 1;\n    }\n}\necho f(2);\n$r = f(3);\nvar_dump($r);\n",
        ["declare(strict_types=1);\n\nuse A\\B;", "/** Doc. */\nfunction f(int $x): int {\n    return g($x);\n}",
         "function g($x)", "public function m() {\n        return 1;", "private $y = 1;"],
        ["echo", "$r", "throw"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("path", "case"), LANGUAGES.items(), ids=LANGUAGES)
def test_answers_in_every_language(path: str, case: tuple[str, str, list[str], list[str]]) -> None:
    old, new, present, absent = case
    result = merged(path, old, new)
    assert [part for part in present if part not in result] == [], result
    assert [part for part in absent if part in result] == [], result
    assert parses(path, result)
    assert merged(path, result, new) == result, "merging twice changes nothing more"
    assert merged(path, old, old) == old
