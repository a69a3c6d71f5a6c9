"""The LionW optimizer, after Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms" (2302.06675).

Algorithm 2 of the paper: the step has the sign of a mix of momentum and gradient, the same size for every
weight, and weight decay is decoupled, as in AdamW. One state a weight instead of AdamW's two.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch


class LionW(torch.optim.Optimizer):
    """`lr` is 3 to 10 times lower than AdamW's, and `weight_decay` as many times higher."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        """`betas`: the momentum's share in the step, and in the momentum that is kept."""
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"no setting for LionW: lr {lr}, betas {betas}, weight decay {weight_decay}")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step on the gradients that are there; the loss, where a closure computes it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        grad, state, (first, second) = weight.grad, self.state[weight], group["betas"]
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"]
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(torch.lerp(grad, momentum, first).sign_(), alpha=-group["lr"])
        momentum.lerp_(grad, 1 - second)
