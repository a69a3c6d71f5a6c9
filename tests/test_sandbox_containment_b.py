"""Group B: time, processes and signals. What a command does to outlive or to confuse its limit."""

import pytest

from tests.containment_kit import Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]


def test_sandbox_b01_sleep_forever(contained: Contained) -> None:
    with contained.sandbox() as box:
        result = box.run(f"sleep {contained.marker}", timeout_s=2)
        assert result.status == "timeout"
        assert 1.8 <= result.duration_s <= 2.2
        assert contained.marked() == []
