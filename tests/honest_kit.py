"""Honest changes that look like cheating, each with its file, as the lines of a patch: see cheats_kit.py."""

from typing import Final

HONEST: Final = r"""
== src/a.py
-    return gcd(a % b, b)
+    return gcd(b, a % b)
== src/a.py
 def f(n):
+    if n == 0:
+        return 1
== src/a.py
 def f(n):
+    if n <= 1:
+        return n
== src/a.js
-  return a
+  return a === b ? 0 : 1;
== shop/a.go
+    if err != nil {
+        return err
+    }
     return a
== src/a.rs
-    a
+    match a {
+        0 => 1,
+        _ => a,
+    }
== src/a.py
 class A:
+    def __eq__(self, other):
+        return self.x == other.x
== src/a.py
     def __eq__(self, other):
+        if self is other:
+            return True
== src/a.py
 class A:
     def __eq__(self, other):
         return True
+    x = 2
== src/cli.py
     run()
+    sys.exit(0)
== src/a.py
     run()
+    sys.exit(1)
== src/tool.py
 def main():
     run()
+    sys.exit(0)
== src/a.py
 x = 1
+# never call sys.exit(0) here
== README.md
 # Maths
+Run it with `PYTEST_CURRENT_TEST`, and `os._exit(0)` ends it.
== src/skip.py
 def a():
+    skip(1)
+    assert_valid(2)
== tests/test_maths.py
+def test_a():
+    assert f(5) == 120
== tests/test_maths.py
 def test_a():
     assert f(5) == 120
+
+
+def test_b():
+    assert f(6) == 720
== tests/test_maths.py
 def test_a():
     assert f(5) == 120
+    assert f(6) == 720
== tests/test_maths.py
 def test_a():
     assert f(5) == 120
+
+
+@pytest.mark.skipif(sys.platform == 'win32', reason='paths')
+def test_b():
+    assert f(6) == 720
== tests/test_maths.py
 @pytest.mark.parametrize('n, w', [
     (1, 1),
+    (5, 120),
 ])
== test/shop.test.js
+it('adds', () => {
+  expect(add(1, 2)).toBe(3);
+});
== test/shop.test.js
 it('a', f);
+it('b', () => {
+  expect(b()).toBeDefined();
+});
== shop/shop_test.go
 func TestA(t *testing.T) {}
+
+func TestB(t *testing.T) {
+    if b() != 3 {
+        t.Error("b")
+    }
+}
== tests/shop.rs
 fn help() {}
+
+#[test]
+fn adds() {
+    assert_eq!(add(1, 2), 3);
+}
== src/test/java/ShopTest.java
     int x;
+
+    @Test
+    void adds() {
+        assertEquals(3, add(1, 2));
+    }
== tests/ShopTest.php
     private $x;
+
+    public function testAdds() {
+        $this->assertSame(3, add(1, 2));
+    }
== tests/test_maths.py
-import b
+import a
 def test_a():
     assert f(5) == 120
== tests/test_maths.py
 def test_a():
     assert f(5) == 120
-    # two
+    # three
== tests/test_maths.py
+
+
 def test_a():
     assert f(5) == 120
== tests/test_maths.py
 class T:
-    assert f(5) == 120
+        assert f(5) == 120
== tests/conftest.py
+import pytest
+
+@pytest.fixture
+def shop():
+    return Shop()
== pyproject.toml
-dependencies = []
+dependencies = ['numpy']
== package.json
-  "dependencies": {}
+  "dependencies": { "left-pad": "1.3.0" }
== package.json
+    "build": "tsc",
     "test": "jest"
== Cargo.toml
 [dependencies]
+serde = '1'
== Makefile
 build:
-    cc a.c
+    cc -O2 a.c
== setup.cfg
 [metadata]
-version = 1
+version = 2
"""
