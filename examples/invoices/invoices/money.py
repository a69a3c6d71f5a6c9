"""Amounts in whole cents."""


def cents(text: str) -> int:
    """Cents of an amount such as `12.50` or `7`."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0")[:2])


def show(amount: int) -> str:
    """An amount in cents as text, such as `12.50`."""
    return f"{amount // 100}.{amount % 100:02}"


def parts(amount: int, count: int) -> list[int]:
    """Instalments of an amount, as equal as can be, the larger ones first.

    >>> parts(1000, 4)
    [250, 250, 250, 250]
    >>> parts(1000, 3)
    [334, 333, 333]
    >>> parts(5, 3)
    [2, 2, 1]
    """
    raise NotImplementedError
