import pytest

from invoices.money import cents, show


@pytest.mark.parametrize(("text", "amount"), [("12.50", 1250), ("7", 700), ("0.05", 5), ("3.1", 310)])
def test_cents(text, amount):
    assert cents(text) == amount


def test_show():
    assert show(1205) == "12.05"
