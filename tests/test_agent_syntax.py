"""Source text in every language: its functions with owners and lines, stubs, soundness."""

import time
from pathlib import Path

import pytest

from agent.grammars import tree_of
from agent.syntax import functions, is_stub, language_of, merged, parses

SOURCES = {
    "a.py": '''\
# c
@dec
def f(x):
    """d"""

class A:
    # doc
    @property
    def g(self):
        return 1

    # doc h
    async def h(self): ...
    def i(self):
        def inner(): pass
        raise NotImplementedError("x")
''',
    "a.js": """\
// two fer
export const f = (x) => {
  throw new Error("Remove");
};
function g() { return 1; }
class A {
  constructor() { this.x = 1; }
  #p() {}
  static q = () => 1;
}
exports.z = function (a) { return; };
A.prototype.w = function () { let k = () => { return 2; }; return k; };
const o = { m() { return 1 }, n: () => 2 };
/** doc
 */
export default async function d() {}
""",
    "a.ts": """\
export function f(x: number): string { throw new Error('x'); }
interface I { a(): void }
export abstract class A<T> {
  @dec()
  private m(x: T): T { return x }
  abstract n(): void;
  k = (x: number) => x;
}
namespace N { export function q() {} }
""",
    "a.go": """\
package p

// Doc.
func (s *Set[T]) Add(x T) { panic("implement") }
func New() *Set { return nil }
func Two() int { return 2 }
type Set struct{ m int }
""",
    "a.rs": """\
/// Doc
#[inline]
pub fn f(x: u8) -> u8 {
    todo!("x {x}")
}
impl<T> Foo<T> { fn g(&self) { unimplemented!() } }
impl std::fmt::Display for Foo<u8> { fn fmt(&self) -> R { Ok(()) } }
trait T { fn a(&self); fn b(&self) {} }
mod m { fn z() {} }
struct Foo<T> { x: T }
""",
    "A.java": """\
package a;
import java.util.*;
/** Doc. */
class A {
    A() { }
    /** x */
    @Override
    public int f(int x) { throw new UnsupportedOperationException("Delete"); }
    int g() { return 1; }
    static class B { void h() {} }
}
""",
    "a.c": """\
#include <stdio.h>
// doc
static int *f(int x) { return 0; }
struct s { int a; };
#ifdef A
void g(void) { abort(); }
#endif
""",
    "a.cpp": """\
#include <vector>
namespace n {
// doc
template <class T>
T f(T x) { return x; }
class A { public: A(); int m() const { return 1; } ~A() {} };
int A::k(int x) { throw std::logic_error("no"); }
std::string &A::r() { return s; }
bool operator==(const A &a, const A &b) { return true; }
n::A::A() : x(1) {}
}
""",
    "a.php": """\
<?php
namespace A;
/** doc */
function f(int $x): int { throw new \\BadFunctionCallException("x"); }
class K { #[X]
    public function m() { return; }
    private static function n() { return 2; } }
trait T { function t() {} }
""",
}

EXPECTED = {
    "a.py": [
        "f 1 3 4 stub",
        "A.g 7 9 10",
        "A.h 12 13 13 stub",
        "A.i 14 14 16",
        "inner 15 15 15 stub",
    ],
    "a.js": [
        "f 1 2 4 stub",
        "g 5 5 5",
        "A.constructor 7 7 7",
        "A.#p 8 8 8 stub",
        "A.q 9 9 9",
        "z 11 11 11 stub",
        "A.w 12 12 12",
        "k 12 12 12",
        "m 13 13 13",
        "n 13 13 13",
        "d 14 16 16 stub",
    ],
    "a.ts": [
        "f 1 1 1 stub",
        "A.m 4 5 5",
        "A.k 7 7 7",
        "q 9 9 9 stub",
    ],
    "a.go": [
        "Set.Add 3 4 4 stub",
        "New 5 5 5 stub",
        "Two 6 6 6",
    ],
    "a.rs": [
        "f 1 3 5 stub",
        "Foo.g 6 6 6 stub",
        "Foo.fmt 7 7 7",
        "T.b 8 8 8 stub",
        "z 9 9 9 stub",
    ],
    "A.java": [
        "A.A 5 5 5 stub",
        "A.f 6 8 8 stub",
        "A.g 9 9 9",
        "B.h 10 10 10 stub",
    ],
    "a.c": [
        "f 2 3 3",
        "g 6 6 6 stub",
    ],
    "a.cpp": [
        "f 3 4 5",
        "A.m 6 6 6",
        "A.~A 6 6 6 stub",
        "A.k 7 7 7 stub",
        "A.r 8 8 8",
        "operator== 9 9 9",
        "A.A 10 10 10",
    ],
    "a.php": [
        "f 3 4 4 stub",
        "K.m 5 6 6 stub",
        "K.n 7 7 7",
        "T.t 8 8 8 stub",
    ],
}
"""Each function with its first line above it, its first and its last one."""


@pytest.mark.parametrize("path", SOURCES)
def test_functions_and_stubs(path: str) -> None:
    text = SOURCES[path]
    found = [
        f"{f'{span.owner}.{span.name}'.lstrip('.')} {span.top} {span.first} {span.last}"
        + (" stub" if is_stub(path, text, span) else "")
        for span in functions(path, text)
    ]
    assert found == EXPECTED[path]


@pytest.mark.parametrize("path", SOURCES)
def test_soundness(path: str) -> None:
    text = SOURCES[path]
    assert parses(path, text)
    assert not parses(path, text + "\nclass (((\n")
    assert merged(path, text, text) == text
    crlf = "\ufeff" + text.replace("\n", "\r\n")
    assert [span.first for span in functions(path, crlf)] == [span.first for span in functions(path, text)]


def test_languages_without_a_grammar_are_left_alone() -> None:
    assert language_of("a.rb") == language_of("Makefile") == ""
    assert functions("a.rb", "def f\nend\n") == ()
    assert parses("a.rb", "def (((")
    assert language_of("x/a.TSX") == "tsx"
    assert parses("a.h", "int new;\n")
    assert parses("a.h", "class A { int b; };\n")


@pytest.mark.parametrize(
    "text", ["\\\n" * 90_000, "'" * 90_001, "(" * 90_000, "x = 1\n" * 50_000, "`${" * 60_000]
)
@pytest.mark.parametrize("path", ["a.py", "a.ts", "a.cpp"])
def test_strange_texts_take_no_time(path: str, text: str) -> None:
    start = time.process_time()
    functions(path, text)
    assert time.process_time() - start < 2.5


def test_a_parser_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.grammars.PARSE_S", 0.0)
    assert tree_of("a.py", "x = 1\n" * 20_000) is None
    monkeypatch.undo()
    tree = tree_of("a.py", "x = 1\n" * 20_000)
    assert tree is not None
    assert not tree.root.has_error


def test_a_file_merged_into_itself_stays_as_it_is() -> None:
    for path in sorted((Path(__file__).parent.parent / "agent").glob("*.py"))[:12]:
        text = path.read_text(encoding="utf-8")
        assert merged(path.name, text, text) == text
