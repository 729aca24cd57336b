"""A small table: the area of each class before and after, gained and lost."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from magicgui.widgets import Label
from numpy.typing import NDArray

from napari_densecrf._napari.panel.panel import set_text
from napari_densecrf._napari.problem.problem import Problem
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import CHANGES, Result

from .toggle import Toggled

# More classes than a dock has room for: the rest, the smallest, are left out, and said to be.
MAX_ROWS = 12


class Areas(Toggled):
    """The table, under its toggle."""

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
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
        region, problem = result.request.region, result.request.problem
        set_text(self.table, table(result.counts, result.inputs.names, problem, region), rich=True)


def areas(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n_classes, 4) pixels before, after, gained and lost, of pixels that were (rows) and are (columns)."""
    before, after, kept = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    return np.column_stack([before, after, after - kept, before - kept])


def table(counts: NDArray[np.int64], names: list[str], problem: Problem, region: Region) -> str:
    """Return the table in the HTML that a label shows; pixels are those of the full resolution."""
    pixels = areas(counts) * region.step**2
    order = np.sort(np.argsort(-pixels[:, :2].max(axis=1), kind="stable")[:MAX_ROWS])
    pixel_area = problem.spacing[0] * problem.spacing[1] if problem.unit != "px" else None
    rows = [_row(("before", "after", "gained", "lost"), "th")]
    for k in order:
        # A line of its own for the name: beside it four numbers do not fit into a narrow dock.
        rows.append(f'<tr><td colspan="4" align="left"><b>{escape(names[k])}</b></td></tr>')
        rows.append(_row([f"{n:,}" for n in pixels[k]]))
        if pixel_area is not None:
            rows.append(_row([_short(n * pixel_area) for n in pixels[k]]))
    notes = ["In pixels." if pixel_area is None else f"In pixels, and below in {problem.unit}²."]
    if (region.y, region.x) != ((0, problem.shape[-2]), (0, problem.shape[-1])):
        notes.append("Of the visible part.")
    if len(names) > len(order):
        notes.append(f"{len(names) - len(order)} smaller classes are left out.")
    return f'<table width="100%" cellspacing="2">{"".join(rows)}</table>{" ".join(notes)}'


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f'<{tag} width="25%" align="right">{cell}</{tag}>' for cell in cells) + "</tr>"


def _short(area: float) -> str:
    """Return three digits, and more only where there is no fraction to cut."""
    return f"{area:,.0f}" if area >= 100 else f"{area:.3g}"
