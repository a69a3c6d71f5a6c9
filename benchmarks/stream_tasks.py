"""Two small repositories with twelve defects each, of kinds that come back, for benchmarks/memory_stream.py.

What has to be found out in each: the command that runs its tests (its documents tell), a variable of the
environment without which nothing can be imported, and a rule that its maintainer rejects changes for, which
is written down nowhere. Written for this benchmark; licence as the project's.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Defect:
    """One task: a function that is wrong, and the test that says so."""

    name: str
    path: str
    right: str
    """The line as it should be; empty where the wrong text only lacks lines."""
    wrong: str
    prompt: str
    test: str
    """Body of its test, in the words of the repository's test runner."""


@dataclass(frozen=True, slots=True)
class Project:
    """A repository, its rule, and its tasks in the order in which they come."""

    name: str
    files: dict[str, str]
    """Everything but the tests of the tasks, as it should be."""
    test_path: str
    test_head: str
    refused: str
    """Regular expression: a change that adds this is rejected."""
    reason: str
    defects: tuple[Defect, ...]


MONEY: Final = '''"""Amounts of money."""

from decimal import ROUND_HALF_UP, Decimal


def quantize(amount):
    """The amount in whole cents, half a cent up."""
    return float(Decimal(str(amount)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
'''
LEDGER: Final = {
    "README.md": (
        "# Ledger\n\nA small ledger. Run the tests with:\n\n"
        "    LEDGER_MODE=strict python3 -m pytest -q checks\n"
    ),
    "ledger/__init__.py": 'import os\n\nMODE = os.environ["LEDGER_MODE"]\n',
    "ledger/money.py": MONEY,
    "ledger/charges.py": '''from ledger import money


def tax(amount, rate):
    """The tax on an amount."""
    return money.quantize(amount * rate)


def tip(amount, percent):
    """The tip for a bill."""
    return money.quantize(amount * percent / 100)


def discount(price, percent):
    """The price after a discount."""
    return money.quantize(price - price * percent / 100)
''',
    "ledger/loans.py": '''from ledger import money


def interest(principal, rate, days):
    """Simple interest for some days of a year of 365 days."""
    return money.quantize(principal * rate * days / 365)


def instalment(total, parts):
    """What each of the parts costs."""
    return money.quantize(total / parts)
''',
    "ledger/periods.py": '''def months(first, last):
    """All months from the first to the last, both included."""
    return [month for month in range(first, last + 1)]


def statement_numbers(first, last):
    """Numbers of the statements from the first to the last, both included."""
    numbers = []
    for number in range(first, last + 1):
        numbers.append(f"S{number:03}")
    return numbers


def weeks(start, end):
    """Weeks of a report, both ends included."""
    return {week: 0 for week in range(start, end + 1)}


def years(opened, closed):
    """Years in which an account was open, both ends included."""
    return list(range(opened, closed + 1))
''',
    "ledger/currency.py": '''RATES = {"EUR": 1.0, "USD": 1.25, "GBP": 0.8}
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}


def rate(code):
    """The rate of a currency, whose code may be written in any case."""
    return RATES[code.upper()]


def symbol(code):
    """The sign of a currency, whose code may be written in any case."""
    return SYMBOLS[code.upper()]


def known(code):
    """True for a currency that is known, whose code may be written in any case."""
    return code.upper() in RATES
''',
}

CLOCK: Final = '''"""The day it is, which tests and night jobs may set."""

import datetime

_fixed = None


def fix(day):
    """Let it be this day; None means the real one."""
    global _fixed
    _fixed = day


def today():
    """The day it is."""
    return _fixed or datetime.date.today()
'''
STOCK: Final = {
    "CONTRIBUTING.md": (
        "# How to work here\n\n"
        "Before a commit: `STOCK_ZONE=main python3 -m unittest discover -s spec -p '*_spec.py'`\n"
    ),
    "stock/__init__.py": 'import os\n\nZONE = os.environ["STOCK_ZONE"]\n',
    "stock/clock.py": CLOCK,
    "stock/errors.py": 'class StockError(ValueError):\n    """What a caller did wrong, in words."""\n',
    "stock/batches.py": '''from datetime import date

from stock import clock


def age(made):
    """Days since a batch was made."""
    return (clock.today() - made).days


def is_expired(until):
    """True after the last day."""
    return clock.today() > until


def label(name):
    """What stands on a box that is packed now."""
    return f"{name} {clock.today():%Y-%m-%d}"


def days_left(until: date):
    """Days until the last day; 0 when it is over."""
    return max(0, (until - clock.today()).days)
''',
    "stock/counts.py": '''def on_hand(shelves, name):
    """How many there are; an article that is on no shelf counts 0."""
    return shelves.get(name, 0)


def reserved(orders, name):
    """How many are reserved; an article that nobody ordered counts 0."""
    return sum(order.get(name, 0) for order in orders)


def available(shelves, orders, name):
    """What can be sold; an article that is on no shelf counts 0."""
    return shelves.get(name, 0) - reserved(orders, name)


def value(shelves, prices, name):
    """What is on the shelf is worth this; without a price it is worth 0."""
    return on_hand(shelves, name) * prices.get(name, 0)
''',
    "stock/moves.py": '''from stock.errors import StockError


def take(shelves, name, count):
    """Take some from the shelf. A count below 1 is an error."""
    if count < 1:
        raise StockError("count must be at least 1")
    shelves[name] = shelves[name] - count
    return shelves[name]


def put(shelves, name, count):
    """Put some on the shelf. A count below 1 is an error."""
    if count < 1:
        raise StockError("count must be at least 1")
    shelves[name] = shelves.get(name, 0) + count
    return shelves[name]


def split(count, parts):
    """Sizes of equal parcels. Fewer than 1 parcel is an error."""
    if parts < 1:
        raise StockError("parts must be at least 1")
    return [count // parts] * parts


def price(amount, count):
    """What some cost. A count below 1 is an error."""
    if count < 1:
        raise StockError("count must be at least 1")
    return amount * count
''',
}


def _cents(name: str, path: str, expression: str, call: str, result: str) -> Defect:
    wrong, right = f"    return {expression}\n", f"    return money.quantize({expression})\n"
    prompt = f"ledger.{path}.{name} gives amounts with fractions of a cent. They must be whole cents."
    return Defect(name, f"ledger/{path}.py", right, wrong, prompt, f"assert {path}.{call} == {result}")


def _inclusive(name: str, right: str, call: str, result: str) -> Defect:
    wrong = right.replace(" + 1)", ")")
    prompt = f"ledger.periods.{name} leaves out the last one."
    return Defect(name, "ledger/periods.py", right, wrong, prompt, f"assert periods.{call} == {result}")


def _any_case(name: str, right: str, call: str, result: str) -> Defect:
    wrong = right.replace(".upper()", "")
    prompt = f"ledger.currency.{name} fails for a code in lower case."
    return Defect(name, "ledger/currency.py", right, wrong, prompt, f"assert currency.{call} == {result}")


def _clock(name: str, right: str, call: str, result: str) -> Defect:
    wrong = right.replace("clock.today()", "date.today()")
    prompt = f"stock.batches.{name} does not see the day that the night job sets."
    test = f"clock.fix(datetime.date(2031, 3, 10))\n        self.assertEqual(batches.{call}, {result})"
    return Defect(name, "stock/batches.py", right, wrong, prompt, test)


def _unknown(name: str, right: str, wrong: str, call: str, result: str) -> Defect:
    prompt = f"stock.counts.{name} fails for an article that is not there."
    return Defect(name, "stock/counts.py", right, wrong, prompt, f"self.assertEqual(counts.{call}, {result})")


def _refuses(name: str, what: str, next_line: str, call: str) -> Defect:
    right = f'    if {what} < 1:\n        raise StockError("{what} must be at least 1")\n{next_line}'
    prompt = f"stock.moves.{name} accepts a {what} of 0. It must raise an error."
    test = f"with self.assertRaises(ValueError):\n            moves.{call}"
    return Defect(name, "stock/moves.py", right, next_line, prompt, test)


PROJECTS: Final = (
    Project(
        name="ledger",
        files=LEDGER,
        test_path="checks/test_{name}.py",
        test_head=(
            "from ledger import charges, currency, loans, periods\n\n\ndef test_{name}():\n    {test}\n"
        ),
        refused=r"(?<![\w.])round\(",
        reason="amounts are made whole with money.quantize, never with `round`",
        defects=(
            _cents("tax", "charges", "amount * rate", "tax(19.99, 0.081)", "1.62"),
            _inclusive(
                "months",
                "    return [month for month in range(first, last + 1)]\n",
                "months(3, 5)",
                "[3, 4, 5]",
            ),
            _any_case("rate", "    return RATES[code.upper()]\n", "rate('usd')", "1.25"),
            _cents("tip", "charges", "amount * percent / 100", "tip(33.33, 7)", "2.33"),
            _inclusive(
                "statement_numbers",
                "    for number in range(first, last + 1):\n",
                "statement_numbers(8, 9)",
                "['S008', 'S009']",
            ),
            _any_case("symbol", "    return SYMBOLS[code.upper()]\n", "symbol('eur')", "'€'"),
            _cents(
                "interest", "loans", "principal * rate * days / 365", "interest(1234.5, 0.031, 77)", "8.07"
            ),
            _inclusive(
                "weeks",
                "    return {week: 0 for week in range(start, end + 1)}\n",
                "weeks(51, 52)",
                "{51: 0, 52: 0}",
            ),
            _cents("discount", "charges", "price - price * percent / 100", "discount(99.99, 17)", "82.99"),
            _any_case("known", "    return code.upper() in RATES\n", "known('gbp')", "True"),
            _cents("instalment", "loans", "total / parts", "instalment(100, 7)", "14.29"),
            _inclusive(
                "years",
                "    return list(range(opened, closed + 1))\n",
                "years(2019, 2021)",
                "[2019, 2020, 2021]",
            ),
        ),
    ),
    Project(
        name="stock",
        files=STOCK,
        test_path="spec/{name}_spec.py",
        test_head=(
            "import datetime\nimport unittest\n\nfrom stock import batches, clock, counts, moves\n\n\n"
            "class Case(unittest.TestCase):\n    def test_{name}(self):\n        {test}\n"
        ),
        refused=r"(?<!\w)ValueError\b",
        reason="callers are told with StockError, never with `ValueError` itself",
        defects=(
            _refuses(
                "take", "count", "    shelves[name] = shelves[name] - count\n", "take({'a': 3}, 'a', 0)"
            ),
            _clock("age", "    return (clock.today() - made).days\n", "age(datetime.date(2031, 3, 1))", "9"),
            _unknown(
                "on_hand",
                "    return shelves.get(name, 0)\n",
                "    return shelves[name]\n",
                "on_hand({}, 'a')",
                "0",
            ),
            _refuses("put", "count", "    shelves[name] = shelves.get(name, 0) + count\n", "put({}, 'a', 0)"),
            _clock(
                "is_expired",
                "    return clock.today() > until\n",
                "is_expired(datetime.date(2031, 3, 9))",
                "True",
            ),
            _unknown(
                "reserved",
                "    return sum(order.get(name, 0) for order in orders)\n",
                "    return sum(order[name] for order in orders)\n",
                "reserved([{'a': 2}, {'b': 1}], 'a')",
                "2",
            ),
            _refuses("split", "parts", "    return [count // parts] * parts\n", "split(4, 0)"),
            _clock(
                "label", '    return f"{name} {clock.today():%Y-%m-%d}"\n', "label('x')", "'x 2031-03-10'"
            ),
            _unknown(
                "available",
                "    return shelves.get(name, 0) - reserved(orders, name)\n",
                "    return shelves[name] - reserved(orders, name)\n",
                "available({}, [], 'a')",
                "0",
            ),
            _refuses("price", "count", "    return amount * count\n", "price(2, 0)"),
            _clock(
                "days_left",
                "    return max(0, (until - clock.today()).days)\n",
                "days_left(datetime.date(2031, 3, 12))",
                "2",
            ),
            _unknown(
                "value",
                "    return on_hand(shelves, name) * prices.get(name, 0)\n",
                "    return on_hand(shelves, name) * prices[name]\n",
                "value({'a': 1}, {}, 'a')",
                "0",
            ),
        ),
    ),
)
