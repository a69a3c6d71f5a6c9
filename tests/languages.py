"""Small repositories in the languages that have an image of their own; each has one test that can fail."""

import re
from contextlib import closing
from dataclasses import dataclass
from functools import cache

import pytest

from sandbox.client import connect
from sandbox.images import is_present, recipe


@cache
def _missing(profile: str) -> str:
    """Why the profile's image cannot be used; empty when it can."""
    with closing(connect()) as client:
        tag = recipe(profile).tag
        return "" if is_present(tag, client) else f"no image {tag} (try: adi doctor --fix --images {profile})"


def image(profile: str) -> str:
    """Tag of the profile's image; the test is skipped where it was not made."""
    if reason := _missing(profile):
        pytest.skip(reason)
    return recipe(profile).tag


@dataclass(frozen=True)
class Sample:
    """A repository whose checks pass, and a change that makes them fail."""

    text: str
    """The files, each after a line `--- path`."""
    check: str
    """Name of the check that is found."""
    profile: str
    bug: tuple[str, str, str]
    """A file, a text in it, and what to write in its place."""
    test: str
    """The failing test as its runner names it."""
    place: tuple[str, int]
    """Innermost frame of the failure inside the repository."""
    said: str
    """Part of the failure's message."""
    passed: int = 2
    """Tests that pass without the bug."""

    @property
    def files(self) -> dict[str, str]:
        parts = re.split(r"^--- (.+)\n", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def broken(self) -> dict[str, str]:
        path, old, new = self.bug
        return {**self.files, path: self.files[path].replace(old, new)}


NODE_TEST = Sample(
    """\
--- add.js
exports.add = (a, b) => a + b;
--- add.test.js
const test = require('node:test');
const assert = require('node:assert');
const { add } = require('./add');
test('adds', () => { assert.strictEqual(add(2, 3), 5); });
test('zero', () => { assert.strictEqual(add(0, 0), 0); });
""",
    "node --test", "node", ("add.js", "a + b", "a - b"), "adds", ("add.test.js", 4), "-1 !== 5",
)  # fmt: skip

MOCHA = Sample(
    """\
--- package.json
{"devDependencies": {"mocha": "*", "chai": "*"}}
--- add.js
exports.add = (a, b) => a + b;
--- test/add.js
const { expect } = require('chai');
const { add } = require('../add');
describe('add', () => {
  it('adds', () => { expect(add(2, 3)).to.equal(5); });
  it('zero', () => { expect(add(0, 0)).to.equal(0); });
});
""",
    "mocha", "node", ("add.js", "a + b", "a - b"), "add adds", ("test/add.js", 4), "expected -1 to equal 5",
)  # fmt: skip

JEST = Sample(
    """\
--- package.json
{"scripts": {"test": "jest"}}
--- add.js
exports.add = (a, b) => a + b;
--- add.test.js
const { add } = require('./add');
test('adds', () => {
  expect(add(2, 3)).toBe(5);
});
test('zero', () => {
  expect(add(0, 0)).toBe(0);
});
""",
    "npm test", "node", ("add.js", "a + b", "a - b"), "adds", ("add.test.js", 3), "Expected: 5",
)  # fmt: skip

TYPESCRIPT = Sample(
    """\
--- tsconfig.json
{"compilerOptions": {"target": "es2020", "module": "commonjs", "strict": true, "esModuleInterop": true}}
--- src/add.ts
export function add(a: number, b: number): number {
  return a + b;
}
--- src/add.test.ts
import test from 'node:test';
import assert from 'node:assert';
import { add } from './add';

test('adds', () => {
  assert.strictEqual(add(2, 3), 5);
});
test('zero', () => {
  assert.strictEqual(add(0, 0), 0);
});
""",
    "tsc and node --test", "node", ("src/add.ts", "a + b", "a - b"),
    "adds", ("src/add.test.ts", 6), "-1 !== 5",
)  # fmt: skip

JAVA = Sample(
    """\
--- pom.xml
<project/>
--- src/main/java/org/example/Adder.java
package org.example;

public class Adder {
    public static int add(int a, int b) {
        return a + b;
    }
}
--- src/main/resources/unit.txt
one
--- src/test/java/org/example/AdderTest.java
package org.example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import org.junit.jupiter.api.Test;

class AdderTest {
    @Test
    void adds() {
        assertEquals(5, Adder.add(2, 3));
    }

    @Test
    void resource() {
        assertNotNull(Adder.class.getResource("/unit.txt"));
    }
}
""",
    "junit", "java", ("src/main/java/org/example/Adder.java", "a + b", "a - b"),
    "org.example.AdderTest.adds", ("src/test/java/org/example/AdderTest.java", 11), "expected: <5> but was",
)  # fmt: skip

JUNIT4 = Sample(
    """\
--- Adder.java
public class Adder {
    static int add(int a, int b) {
        if (a < 0) {
            throw new IllegalStateException("no sum");
        }
        return a + b;
    }
}
--- AdderTest.java
import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class AdderTest {
    @Test
    public void adds() {
        assertEquals(5, Adder.add(2, 3));
    }

    @Test
    public void fine() {}
}
""",
    "junit", "java", ("Adder.java", "a < 0", "a > 0"), "AdderTest.adds", ("Adder.java", 4), "no sum",
)  # fmt: skip

GTEST = Sample(
    """\
--- CMakeLists.txt
cmake_minimum_required(VERSION 3.14)
project(adder CXX)
set(CMAKE_CXX_STANDARD 17)
enable_testing()
include(FetchContent)
FetchContent_Declare(googletest URL https://example.org/googletest.zip)
FetchContent_MakeAvailable(googletest)
add_executable(adder_test tests/adder_test.cpp)
target_link_libraries(adder_test gtest_main)
include(GoogleTest)
gtest_discover_tests(adder_test)
--- adder.h
#pragma once
inline int add(int a, int b) { return a + b; }
--- tests/adder_test.cpp
#include "../adder.h"
#include <gtest/gtest.h>

TEST(Adder, Adds) { EXPECT_EQ(add(2, 3), 5); }
TEST(Adder, Zero) { EXPECT_EQ(add(0, 0), 0); }
""",
    "ctest", "cpp", ("adder.h", "a + b", "a - b"), "Adder.Adds", ("tests/adder_test.cpp", 4), "Which is: -1",
)  # fmt: skip

CATCH = Sample(
    """\
--- CMakeLists.txt
cmake_minimum_required(VERSION 3.14)
project(adder CXX)
set(CMAKE_CXX_STANDARD 17)
enable_testing()
find_package(Catch2 3 REQUIRED)
add_executable(adder_test adder_test.cpp)
target_link_libraries(adder_test Catch2::Catch2WithMain)
include(Catch)
catch_discover_tests(adder_test)
--- adder.h
#pragma once
inline int add(int a, int b) { return a + b; }
--- adder_test.cpp
#include "adder.h"
#include <catch2/catch_test_macros.hpp>

TEST_CASE("adds") {
    CHECK(add(2, 3) == 5);
}
TEST_CASE("zero") {
    CHECK(add(0, 0) == 0);
}
""",
    "ctest", "cpp", ("adder.h", "a + b", "a - b"), "adds", ("adder_test.cpp", 5), "-1 == 5",
)  # fmt: skip

MAKE = Sample(
    """\
--- Makefile
test: adder.c
	$(CC) -o /tmp/adder adder.c
	/tmp/adder
--- adder.c
#include <assert.h>

static int add(int a, int b) { return a + b; }

int main(void)
{
    assert(add(2, 3) == 5);
    return 0;
}
""",
    "make test", "cpp", ("adder.c", "a + b", "a - b"), "", ("adder.c", 7), "add(2, 3) == 5", 0,
)  # fmt: skip

RUST = Sample(
    """\
--- Cargo.toml
[package]
name = "adder"
version = "0.1.0"
edition = "2021"
--- src/lib.rs
/// ```
/// assert_eq!(adder::add(0, 0), 0);
/// ```
pub fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        assert_eq!(super::add(2, 3), 5);
    }
}
""",
    "cargo test", "rust", ("src/lib.rs", "a + b", "a - b"), "tests::adds", ("src/lib.rs", 12), "right: 5",
)  # fmt: skip

GO = Sample(
    """\
--- go.mod
module example.org/adder

go 1.19
--- adder.go
package adder

import "fmt"

func Add(a, b int) int { return a + b }

func Show(a int) string { return fmt.Sprint(a) }
--- adder_test.go
package adder

import "testing"

func TestAdds(t *testing.T) {
	if got := Add(2, 3); got != 5 {
		t.Errorf("Add(2, 3) = %d, want 5", got)
	}
}
""",
    "go test", "go", ("adder.go", "a + b", "a - b"), "TestAdds", ("adder_test.go", 7), "want 5", 1,
)  # fmt: skip

PHP = Sample(
    """\
--- composer.json
{"autoload": {"psr-4": {"Example\\\\": "src/"}}}
--- phpunit.xml
<phpunit bootstrap="vendor/autoload.php">
  <testsuites><testsuite name="all"><directory>tests</directory></testsuite></testsuites>
</phpunit>
--- src/Adder.php
<?php
namespace Example;

final class Adder
{
    public static function add(int $a, int $b): int
    {
        return $a + $b;
    }
}
--- tests/AdderTest.php
<?php
use Example\\Adder;
use PHPUnit\\Framework\\TestCase;

final class AdderTest extends TestCase
{
    public function testAdds(): void
    {
        $this->assertSame(5, Adder::add(2, 3));
    }

    public function testZero(): void
    {
        $this->assertSame(0, Adder::add(0, 0));
    }
}
""",
    "phpunit", "php", ("src/Adder.php", "$a + $b", "$a - $b"),
    "AdderTest::testAdds", ("tests/AdderTest.php", 9), "Failed asserting that -1 is identical to 5",
)  # fmt: skip

SAMPLES = {
    "node": NODE_TEST, "mocha": MOCHA, "jest": JEST, "typescript": TYPESCRIPT, "java": JAVA, "junit4": JUNIT4,
    "gtest": GTEST, "catch": CATCH, "make": MAKE, "rust": RUST, "go": GO, "php": PHP,
}  # fmt: skip
