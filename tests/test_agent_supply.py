"""Imports that a changed file lacks: what is added, what goes, and what is left alone."""

import pytest

from agent.supply import supplied

GO = "package p\n\nfunc f(l []int) {\n\tsort.Ints(l)\n}\n"


def test_go_gets_the_packages_that_it_uses() -> None:
    assert supplied("a.go", GO) == GO.replace("package p\n", 'package p\n\nimport "sort"\n')
    both = 'package p\n\nimport "fmt"\n\nfunc f(b strings.Builder) {\n\tfmt.Println(b, rand.Int())\n}\n'
    wanted = 'import "fmt"\nimport "math/rand"\nimport "strings"\n'
    assert supplied("a.go", both) == both.replace('import "fmt"\n', wanted)


@pytest.mark.parametrize(
    "text",
    [
        'package p\n\nimport "sort"\n\nfunc f(l []int) {\n\tsort.Ints(l)\n}\n',
        'package p\n\nimport sort "example.org/other"\n\nfunc f(l []int) {\n\tsort.Ints(l)\n}\n',
        'package p\n\nimport "example.org/v2/sort/v3"\n\nfunc f(l []int) {\n\tsort.Ints(l)\n}\n',
        "package p\n\nfunc f(sort T) {\n\tsort.Ints(1)\n}\n",
        "package p\n\nvar sort = newSorter()\n\nfunc f() {\n\tsort.Ints(1)\n}\n",
        "package p\n\nfunc f() {\n\tfor _, sort := range all {\n\t\tsort.Ints(1)\n\t}\n}\n",
        "package p\n\nfunc f() {\n\tcustom.Ints(1)\n}\n",
        'package p\n\nimport _ "embed"\n\nfunc f() {}\n',
        'package p\n\nimport "example.org/unused"\n\nfunc f() {}\n',
        "package p\n\nfunc f( {\n\tsort.Ints(l)\n",
    ],
)
def test_go_that_lacks_nothing_stays_as_it_is(text: str) -> None:
    assert supplied("a.go", text) == text


def test_go_loses_standard_packages_that_it_does_not_use() -> None:
    grouped = 'package p\n\nimport (\n\t"fmt"\n\t"strings"\n)\n\nfunc f() {\n\tfmt.Println()\n}\n'
    assert supplied("a.go", grouped) == grouped.replace('\t"strings"\n', "")
    alone = 'package p\n\nimport "fmt"\n\nfunc f(l []int) {\n\tsort.Ints(l)\n}\n'
    assert 'import "sort"' in supplied("a.go", alone)
    assert "fmt" not in supplied("a.go", alone)
    one_line = 'package p; import "fmt"; func f() {}\n'
    assert "fmt" not in supplied("a.go", one_line)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("def f(x):\n    return math.sqrt(x)\n", "import math\n"),
        ("def f(x: List[int]):\n    return Counter(x)\n", "from collections import Counter\n"),
        ("def f(x):\n    def g():\n        return re.sub('a', 'b', x)\n    return g\n", "import re\n"),
        ("@lru_cache\ndef f(x):\n    return x\n", "from functools import lru_cache\n"),
    ],
)
def test_python_gets_what_it_uses(text: str, first: str) -> None:
    result = supplied("a.py", text)
    assert result.startswith(first)
    assert result.endswith(text)
    assert supplied("a.py", result) == result


def test_python_imports_go_behind_those_that_the_file_begins_with() -> None:
    head = '"""Doc."""\n\nfrom __future__ import annotations\n\nimport os\n'
    text = f"{head}\n\nX = os.sep + json.dumps(1)\nimport late\n"
    assert supplied("a.py", text) == text.replace("import os\n", "import os\nimport json\n")
    bare = '"""Doc."""\n\nX = json.dumps(1)\n'
    assert supplied("a.py", bare) == '"""Doc."""\n\nimport json\n\nX = json.dumps(1)\n'


@pytest.mark.parametrize(
    "text",
    [
        "def f(string):\n    return string.lower()\n",
        "def f():\n    time = g()\n    return time.time()\n",
        "for copy in all_of_them:\n    copy.copy(1)\n",
        "from other import *\n\nmath.sqrt(2)\n",
        "import numpy as math\n\nmath.sqrt(2)\n",
        "try:\n    pass\nexcept E as time:\n    time.time()\n",
        "match x:\n    case {'a': 1, **json}:\n        json.dumps(1)\n",
        "def Counter():\n    pass\n\n\nCounter()\n",
        "random.no_such_function()\n",  # another thing by that name, bound where nobody sees it
        "queue.append(1)\n",
        "def f(:\n    math.sqrt(2)\n",
    ],
)
def test_python_that_binds_the_name_stays_as_it_is(text: str) -> None:
    assert supplied("a.py", text) == text


def test_marks_and_line_endings_stay() -> None:
    text = "\ufeffimport os\r\n\r\nX = os.sep, math.pi\r\n"
    assert supplied("a.py", text) == text.replace("import os\r\n", "import os\r\nimport math\r\n")
    go = "\ufeff" + GO.replace("\n", "\r\n")
    assert supplied("a.go", go) == go.replace("package p\r\n", 'package p\r\n\r\nimport "sort"\r\n')


def test_other_languages_are_left_alone() -> None:
    assert supplied("a.js", "math.sqrt(2);\n") == "math.sqrt(2);\n"
    assert supplied("notes.txt", "math.sqrt(2)\n") == "math.sqrt(2)\n"
