"""Small tested repositories for the tests of seeded tasks and of `adi learn`."""

from collections.abc import Mapping
from pathlib import Path

from sandbox.fresh import make_repository

SHELF = '''"""A shelf of books."""


class Shelf:
    def __init__(self):
        self.books = []

    def add(self, title, pages):
        if pages < 1:
            raise ValueError("a book has pages")
        self.books.append((title, pages))
        return len(self.books)

    def pages(self):
        total = 0
        for _, pages in self.books:
            total = total + pages
        return total
'''
PRICES = '''"""Prices in cents."""


def with_tax(net, rate):
    """Net price and rate in percent."""
    tax = net * rate // 100
    return net + tax


def cheapest(prices):
    best = None
    for price in prices:
        if best is None or price < best:
            best = price
    return best
'''
TEST_SHELF = """import unittest

from shelf import Shelf


class ShelfTest(unittest.TestCase):
    def test_add_counts(self):
        shelf = Shelf()
        self.assertEqual(shelf.add("a", 3), 1)
        self.assertEqual(shelf.add("b", 4), 2)

    def test_pages(self):
        shelf = Shelf()
        shelf.add("a", 3)
        shelf.add("b", 4)
        self.assertEqual(shelf.pages(), 7)

    def test_no_pages(self):
        with self.assertRaises(ValueError):
            Shelf().add("a", 0)

    def test_empty(self):
        self.assertEqual(Shelf().pages(), 0)
"""
TEST_PRICES = """import unittest

from prices import cheapest, with_tax


class PricesTest(unittest.TestCase):
    def test_tax(self):
        self.assertEqual(with_tax(200, 10), 220)

    def test_no_tax(self):
        self.assertEqual(with_tax(200, 0), 200)

    def test_cheapest(self):
        self.assertEqual(cheapest([3, 1, 2]), 1)

    def test_nothing(self):
        self.assertIsNone(cheapest([]))
"""
LIBRARY: Mapping[str, str] = {
    "shelf.py": SHELF,
    "prices.py": PRICES,
    "test_shelf.py": TEST_SHELF,
    "test_prices.py": TEST_PRICES,
}


def library(folder: Path, files: Mapping[str, str] = LIBRARY) -> Path:
    """A git repository of these files."""
    folder.mkdir(parents=True)
    make_repository(folder, {path: text.encode() for path, text in files.items()})
    return folder
