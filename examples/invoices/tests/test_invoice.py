from datetime import date

from invoices.invoice import Invoice, Line


def invoice():
    return Invoice(7, date(2026, 3, 1), [Line("paper", 450, 2), Line("pen", 120, 10)])


def test_total():
    assert invoice().total == 900 + 1140


def test_due():
    assert invoice().due == date(2026, 3, 15)
    assert not invoice().overdue(date(2026, 3, 15))
    assert invoice().overdue(date(2026, 3, 16))


def test_text():
    assert invoice().text().splitlines()[-1].split() == ["Total", "20.40"]
