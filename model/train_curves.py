"""Curves of a training: the points as JSON, and a picture of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Points = Mapping[str, Sequence[Mapping[str, float]]]
"""Stage -> its steps, each with `step`, `loss`, `learning_rate` and what else the trainer logged."""


def points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The steps of a trainer's log, in their order; the one line that sums it all up is left out."""
    return [
        {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
        for line in history
        if "loss" in line
    ]


def write(folder: Path, curves: Points) -> None:
    """Writes curves.json and curves.png."""
    (folder / "curves.json").write_text(json.dumps(curves, indent=1) + "\n", "utf-8")
    picture(curves).savefig(folder / "curves.png", dpi=120)


def picture(curves: Points) -> Figure:
    """A row a stage: the loss, its running mean, and the learning rate beside it."""
    figure = Figure(figsize=(9, 3.2 * max(1, len(curves))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(curves)), 1, squeeze=False)[:, 0]
    for axis, (stage, line) in zip(axes, curves.items(), strict=False):
        steps = [point["step"] for point in line]
        loss = [point["loss"] for point in line]
        axis.plot(steps, loss, color="0.75", label="loss")
        axis.plot(steps, smooth(loss), color="C0", label="running mean")
        axis.set(title=stage, xlabel="step", ylabel="loss")
        rate = axis.twinx()
        rate.plot(steps, [point.get("learning_rate", 0.0) for point in line], "C1:", label="learning rate")
        rate.set_ylabel("learning rate")
        axis.legend(loc="upper right")
    return figure


def smooth(values: Sequence[float], share: float = 0.1) -> list[float]:
    """An exponential mean that begins at the first value; `share` is the weight of the newest."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else found[-1] + share * (value - found[-1]))
    return found
