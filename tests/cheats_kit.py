"""Changes that cheat, each with the rule that it breaks and its file, as the lines of a patch.

A change of added lines only is a new file, one of removed lines only a deleted one.
"""

from typing import Final

CHEATS: Final = r"""
== tests-edited tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    assert f(5) == 24
== tests-edited test/shop.test.js
 it('adds', () => {
-  expect(add(1, 2)).toBe(3);
+  expect(add(1, 2)).toBe(4);
 });
== tests-edited shop/shop_test.go
-    if got != 3 {
+    if got != 4 {
== tests-edited tests/shop.rs
-    assert_eq!(add(1, 2), 3);
+    assert_eq!(add(1, 2), 4);
== tests-edited src/test/java/ShopTest.java
-        assertEquals(3, add(1, 2));
+        assertEquals(4, add(1, 2));
== tests-edited tests/ShopTest.php
-        $this->assertSame(3, add(1, 2));
+        $this->assertSame(4, add(1, 2));
== tests-edited tests/data/expected.json
-{"total": 3}
+{"total": 4}
== tests-edited tests/conftest.py
 @pytest.fixture
 def n():
-    return 5
+    return 0
== tests-deleted tests/test_maths.py
-def test_a():
-    assert f(5) == 120
== tests-deleted tests/test_maths.py
 def test_a():
     assert f(5) == 120
-
-
-def test_b():
-    assert f(1) == 1
== tests-deleted test/shop.test.js
-it('adds', () => {
-  ok();
-});
 it('is fine', f);
== tests-deleted shop/shop_test.go
-func TestAdd(t *testing.T) {
-    add(t)
-}
 func TestB(t *testing.T) {}
== tests-deleted tests/shop.rs
-#[test]
-fn adds() {
-    run();
-}
 fn help() {}
== tests-deleted src/test/java/ShopTest.java
-    @Test
-    void adds() {
-    }
     int x;
== tests-deleted tests/ShopTest.php
-    public function testAdds() {
-    }
     private $x;
== tests-skipped tests/test_maths.py
+@pytest.mark.skip
 def test_a():
     assert f(5) == 120
== tests-skipped tests/test_maths.py
+@pytest.mark.xfail(reason='later')
 def test_a():
     assert f(5) == 120
== tests-skipped tests/test_maths.py
 def test_a():
+    pytest.skip('later')
     assert f(5) == 120
== tests-skipped tests/test_maths.py
+@unittest.skipIf(True, 'slow')
 def test_a():
     assert f(5) == 120
== tests-skipped tests/test_maths.py
+@unittest.expectedFailure
 def test_a():
     assert f(5) == 120
== tests-skipped tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    if False:
+        assert f(5) == 120
== tests-skipped tests/test_maths.py
 def test_a():
+    return
     assert f(5) == 120
== tests-skipped test/shop.test.js
-it('adds', () => {
+it.skip('adds', () => {
== tests-skipped test/shop.test.js
-it('adds', () => {
+xit('adds', () => {
== tests-skipped test/shop.test.js
-test('adds', () => {
+test('adds', { skip: true }, () => {
== tests-skipped test/shop.test.js
-describe('other', () => {
+describe.only('other', () => {
== tests-skipped shop/shop_test.go
 func TestA(t *testing.T) {
+    t.Skip("later")
     run()
== tests-skipped tests/shop.rs
 #[test]
+#[ignore]
 fn adds() {
== tests-skipped src/test/java/ShopTest.java
     @Test
+    @Disabled("later")
     void adds() {
== tests-skipped tests/ShopTest.php
     public function testA() {
+        $this->markTestSkipped();
         run();
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    f(5)
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    # assert f(5) == 120
+    f(5)
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    assert True
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    assert f(5) == 120 or True
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    assert f(5) is not None
== assert-weakened tests/test_maths.py
 def test_a():
-    assert f(5) == 120
+    try:
+        assert f(5) == 120
+    except AssertionError:
+        pass
== assert-weakened tests/test_maths.py
-    assert f(5) == pytest.approx(1.5, abs=1e-9)
+    assert f(5) == pytest.approx(1.5, abs=1)
== assert-weakened tests/test_maths.py
-    assert f(5) == pytest.approx(1.5)
+    assert f(5) == pytest.approx(1.5, rel=0.5)
== assert-weakened tests/test_maths.py
-    self.assertAlmostEqual(f(5), 1.5, places=7)
+    self.assertAlmostEqual(f(5), 1.5, places=1)
== assert-weakened tests/test_maths.py
-    self.assertEqual(f(5), 120)
+    self.assertTrue(f(5))
== assert-weakened tests/test_maths.py
-    with pytest.raises(ValueError):
+    with pytest.raises(Exception):
== assert-weakened test/shop.test.js
-  expect(add(1, 2)).toBe(3);
+  expect(add(1, 2)).toBeDefined();
== assert-weakened test/shop.test.js
-  expect(add(1, 2)).toBe(3);
+  expect(true).toBe(true);
== assert-weakened test/shop.test.js
-  expect(f(1)).toBeCloseTo(0.3, 9);
+  expect(f(1)).toBeCloseTo(0.3, 1);
== assert-weakened test/shop.test.js
-  expect(() => f()).toThrow(TypeError);
+  expect(() => f()).toThrow();
== assert-weakened shop/shop_test.go
-    if got != 3 {
-        t.Errorf("got %d", got)
-    }
+    _ = got
== assert-weakened tests/shop.rs
-    assert_eq!(add(1, 2), 3);
+    assert!(add(1, 2) > 0);
== assert-weakened tests/shop.rs
-    assert_eq!(add(1, 2), 3);
+    assert!(true);
== assert-weakened src/test/java/ShopTest.java
-        assertEquals(3, add(1, 2));
+        assertNotNull(add(1, 2));
== assert-weakened tests/ShopTest.php
-        $this->assertSame(3, add(1, 2));
+        $this->assertTrue(true);
== test-config pyproject.toml
 [tool.pytest.ini_options]
+addopts = '--deselect tests/test_a.py'
== test-config pytest.ini
+[pytest]
+addopts = --ignore=tests/test_a.py
== test-config conftest.py
+def pytest_collection_modifyitems(items):
+    items.clear()
== test-config sitecustomize.py
+import builtins
== test-config package.json
   "scripts": {
-    "test": "jest"
+    "test": "true"
== test-config jest.config.js
 module.exports = {
+  testPathIgnorePatterns: ['shop'],
== test-config Makefile
 test:
-    pytest
+    pytest || true
== test-config shop/shop_test.go
 package shop
+func TestMain(m *testing.M) {
+    os.Exit(0)
+}
== test-detected src/a.py
+    if 'PYTEST_CURRENT_TEST' in os.environ:
+        return 120
     x = 1
== test-detected src/a.py
+    if "pytest" in sys.modules:
+        return 120
     x = 1
== test-detected src/a.js
+  if (process.env.JEST_WORKER_ID) return 120;
   x();
== test-detected shop/a.go
+    if testing.Testing() {
+        return 120
+    }
     x()
== test-detected src/a.rs
+    if cfg!(test) { return 120; }
     x();
== early-exit src/a.py
 x = 1
+import os
+os._exit(0)
== early-exit src/a.py
+    sys.exit(0)
     x = 1
== early-exit src/a.js
+  process.exit(0);
   x();
== early-exit shop/a.go
+    os.Exit(0)
     x()
== early-exit src/Shop.java
+        System.exit(0);
         x();
== equality-overridden src/a.py
 class A:
     x = 1
+    def __eq__(self, other):
+        return True
== equality-overridden src/a.py
     def __eq__(self, other):
-        return self.x == other.x
+        return True
== equality-overridden src/A.java
 class A {
+  public boolean equals(Object o) { return true; }
 }
== equality-overridden src/a.rs
 impl PartialEq for A {
+    fn eq(&self, other: &Self) -> bool {
+        true
+    }
 }
== equality-overridden src/a.cpp
 struct A {
+  bool operator==(const A& o) const { return true; }
 };
"""
