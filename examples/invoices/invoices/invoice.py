"""An invoice: lines, total and due date."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from invoices.discounts import discounted
from invoices.money import show

DAYS_TO_PAY = 14


@dataclass
class Line:
    article: str
    price: int
    quantity: int = 1

    @property
    def amount(self) -> int:
        return discounted(self.price, self.quantity)


@dataclass
class Invoice:
    number: int
    issued: date
    lines: list[Line] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def due(self) -> date:
        return self.issued + timedelta(days=DAYS_TO_PAY)

    def overdue(self, today: date) -> bool:
        return today > self.due

    def text(self) -> str:
        rows = [f"{line.quantity:4} x {line.article:20} {show(line.amount):>10}" for line in self.lines]
        return "\n".join([f"Invoice {self.number}", *rows, f"{'Total':27} {show(self.total):>10}"])
