"""Seconds and counts as a person reads them."""


def seconds(value: float) -> str:
    """0.12 s, 7.5 s, 3m12s."""
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60}m{whole % 60:02}s"


def count(value: int, noun: str) -> str:
    """1 token, 1,200 tokens."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")
