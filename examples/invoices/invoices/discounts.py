"""Discounts by quantity."""

STEPS = ((100, 15), (50, 10), (10, 5))
"""From this many pieces on, so many percent."""


def percent_off(quantity: int) -> int:
    """The discount in percent for so many pieces of one article."""
    for pieces, percent in STEPS:
        if quantity > pieces:
            return percent
    return 0


def discounted(price: int, quantity: int) -> int:
    """Cents for so many pieces, the discount taken off, rounded to the nearest cent."""
    full = price * quantity
    return full - round(full * percent_off(quantity) / 100)
