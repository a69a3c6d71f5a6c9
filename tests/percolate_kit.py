"""What the tests of Percolate share: a small shop with a wrong tax, and looks into the memory."""

import shlex
import sys

from agent.person import Unattended
from agent.settings import directories
from memory.lesson import Lesson
from memory.lessons import Lessons
from memory.records import Payload
from memory.store import Store
from model.scripted import Asked
from tests.agent_kit import Script

PYTHON = shlex.quote(sys.executable)
YES = Unattended(accept=True)
MONEY = "def quantize(amount):\n    return int(amount * 100 + 0.5) / 100\n"
TAX = """import money


def tax(amount):
    return round(amount * 0.075, 2)


def tip(amount):
    return round(amount * 0.125, 2)
"""
TEST_TAX = """import unittest

import shop


class Shop(unittest.TestCase):
    def test_tax(self):
        self.assertEqual(shop.tax(1.0), 0.08)
"""
TEST_TIP = f"{TEST_TAX}\n    def test_tip(self):\n        self.assertEqual(shop.tip(1.0), 0.13)\n"
FILES = {"money.py": MONEY, "shop.py": TAX, "test_shop.py": TEST_TAX}
COMMAND = f"{PYTHON} -m unittest"
MENDS_TAX = Script(lines={"shop.py line 5": "return money.quantize(amount * 0.075)"})
SETTING = "import os\n\nMODE = os.environ['SHOP_MODE']\n\n\ndef tax(amount):\n    return amount * 0.07\n"


def silent(_: Asked) -> str:
    return ""


def told(run_id: str, kind: type) -> list[Payload]:
    with Store.open(directories().database) as store:
        return [event.payload for event in store.events(run_id) if isinstance(event.payload, kind)]


def known(kind: str) -> list[Lesson]:
    with Store.open(directories().database) as store:
        return Lessons(store).all(kinds=(kind,))
