"""What belongs to the proof of a change in repositories of other languages than Python."""

import pytest

from feedback.evidence import bends_tests, is_test_path

RUST = """\
pub fn add(a: i32, b: i32) -> i32 { a - b }

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        assert_eq!(super::add(2, 3), 5);
    }
}
"""
CMAKE = "add_library(a a.cpp)\nadd_executable(t t.cpp)\nadd_test(NAME t COMMAND t)\n"


def test_paths_that_belong_to_the_proof() -> None:
    tests = [
        "adder_test.cpp", "test_adder.c", "AdderTests.cc", "src/adder-unittest.cpp", "AdderTest.java",
        "AdderIT.java", "AdderTest.php", "a.test.mjs", "a_test.js", "test.js", "test-add.js", "a_test.rs",
        "test/add.js",
    ]  # fmt: skip
    others = [
        "src/adder.cpp",
        "Latest.java",
        "src/Tester.php",
        "attest.js",
        "src/IT.md",
        "contest.cpp",
        "src/lib.rs",
    ]
    assert [path for path in tests if not is_test_path(path)] == []
    assert [path for path in others if is_test_path(path)] == []


@pytest.mark.parametrize(
    ("path", "before", "after", "bends"),
    [
        ("src/lib.rs", RUST, RUST.replace("a - b", "a + b"), False),
        ("src/lib.rs", RUST, RUST.replace("2, 3", "3, 3"), True),
        ("src/lib.rs", RUST, RUST.partition("#[cfg(test)]")[0], True),
        ("src/lib.rs", RUST, RUST.replace("    #[test]", "    #[test]\n    #[ignore]"), True),
        ("src/lib.rs", RUST, RUST.replace("fn adds() {", "fn adds() {\n        return;"), True),
        ("src/lib.rs", RUST, RUST[:-2] + "    #[test]\n    fn zero() { add(1, 1); }\n}\n", False),
        ("src/lib.rs", "pub fn a() {}\n", "pub fn a() { return; }\n", False),
        ("CMakeLists.txt", CMAKE, CMAKE.replace("a.cpp", "a.cpp b.cpp"), False),
        ("CMakeLists.txt", CMAKE, f"# more\n{CMAKE}", False),
        ("CMakeLists.txt", CMAKE, CMAKE.replace("add_test", "#add_test"), True),
        ("CMakeLists.txt", CMAKE, CMAKE.replace("t.cpp", "empty.cpp"), True),
        ("composer.json", '{"require": {}}', '{"require": {"a/b": "*"}}', False),
        ("composer.json", "{}", '{"autoload": {"files": ["x.php"]}}', True),
        ("composer.json", "{}", "[1", True),
        ("x_test.go", "", "package x\n\nfunc TestMain(m *testing.M) { os.Exit(0) }\n", True),
        ("x_test.go", "", "package x\n\nfunc TestA(t *testing.T) {}\n", False),
        ("src/main/java/Assert.java", "", "package org.junit;\n\npublic class Assert {}\n", True),
        ("src/main/java/Adder.java", "", "package org.example;\n", False),
        ("src/Case.php", "", "<?php\nnamespace PHPUnit\\Framework;\n", True),
        ("lib/junit.jar", "a", "b", True),
        ("phpunit.xml.dist", "<a/>", "<b/>", True),
    ],
)  # fmt: skip
def test_what_changes_how_tests_run(path: str, before: str, after: str, bends: bool) -> None:
    assert bends_tests(path, before.encode() if before else None, after.encode()) is bends
