"""A small table: the area of each class before and after, gained and lost."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import Label
from numpy.typing import NDArray

from .engine import CHANGES, Result
from .panel import say
from .plan import Plan
from .toggled import Toggled
from .window import Window

if TYPE_CHECKING:
    from .widget import DenseCRFWidget

# More classes than a dock has room for: the rest, the smallest, are left out, and said to be.
MAX_ROWS = 12


class Areas(Toggled):
    """The table, under its toggle."""

    def __init__(self, widget: DenseCRFWidget) -> None:
        super().__init__(
            widget,
            "areas",
            "Area of each class",
            "The area of each class in the map and in the result, and what it gained and lost.",
            wants=CHANGES,
        )
        self.table = Label(name="area_table", label="")
        self.controls["area_table"] = self.table
        self.details.append(self.table)

    def show(self, result: Result) -> None:
        """Fill the table."""
        if result.counts is None:
            return
        window, a_plan = result.request.window, result.request.plan
        say(self.table, table(result.counts, result.inputs.names, a_plan, window))


def areas(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n_classes, 4) pixels before, after, gained and lost, of pixels that were (rows) and are (columns)."""
    before, after, kept = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    return np.column_stack([before, after, after - kept, before - kept])


def table(counts: NDArray[np.int64], names: list[str], a_plan: Plan, window: Window) -> str:
    """Return the table in the HTML that a label shows; pixels are those of the full resolution."""
    pixels = areas(counts) * window.step**2
    order = np.sort(np.argsort(-pixels[:, :2].max(axis=1), kind="stable")[:MAX_ROWS])
    pixel_area = a_plan.spacing[0] * a_plan.spacing[1] if a_plan.unit != "px" else None
    rows = [_row(["", "before", "after", "gained", "lost"], "th")]
    for k in order:
        rows.append(_row([f"<b>{escape(names[k])}</b>", *(f"{n:,}" for n in pixels[k])]))
        if pixel_area is not None:
            rows.append(_row([f"{a_plan.unit}²", *(_short(n * pixel_area) for n in pixels[k])]))
    notes = []
    if pixel_area is None:
        notes.append("In pixels.")
    if (window.y, window.x) != ((0, a_plan.shape[-2]), (0, a_plan.shape[-1])):
        notes.append("Of the visible part.")
    if len(names) > len(order):
        notes.append(f"{len(names) - len(order)} smaller classes are left out.")
    return f'<table width="100%" cellspacing="2">{"".join(rows)}</table>{" ".join(notes)}'


def _row(cells: list[str], tag: str = "td") -> str:
    first, *rest = cells
    return (
        f'<tr><{tag} align="left">{first}</{tag}>'
        + "".join(f'<{tag} align="right">{cell}</{tag}>' for cell in rest)
        + "</tr>"
    )


def _short(area: float) -> str:
    """Return three digits, and more only where there is no fraction to cut."""
    return f"{area:,.0f}" if area >= 100 else f"{area:.3g}"
