from invoices.discounts import discounted, percent_off


def test_no_discount_for_a_few():
    assert percent_off(9) == 0


def test_discount_begins_at_the_step():
    assert percent_off(10) == 5
    assert percent_off(50) == 10
    assert percent_off(100) == 15


def test_discounted_price():
    assert discounted(200, 20) == 3800
