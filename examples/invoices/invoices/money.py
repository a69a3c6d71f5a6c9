"""Amounts in whole cents."""


def cents(text: str) -> int:
    """Cents of an amount such as `12.50` or `7`."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0")[:2])


def show(amount: int) -> str:
    """An amount in cents as text, such as `12.50`."""
    return f"{amount // 100}.{amount % 100:02}"


def days(text: str) -> int:
    """Days in a term of payment, in weeks, days or both.

    >>> days("14d")
    14
    >>> days("2w")
    14
    >>> days("1w 3d")
    10
    """
    raise NotImplementedError
