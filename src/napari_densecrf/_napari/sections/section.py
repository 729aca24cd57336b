"""A folded part of the widget: controls of its own, and what they do with what the widget shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_densecrf._napari.panel.panel import Fold, Panel

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget


class Section:
    """One fold.

    A section makes its controls when it is made, and may listen to the widget and the viewer from `connect` on. It
    reads the widget's `viewer`, `params`, `current_plan` and `last_result`, listens to its signals, and changes
    parameters through `set_params` alone. What is not shown costs nothing.
    """

    title = ""

    def __init__(self, widget: DenseCRFWidget) -> None:
        self.widget = widget
        self.controls: dict[str, Any] = {}

    @property
    def fold(self) -> Fold:
        """What it is laid out in, from `connect` on."""
        return self.widget.panel.folds[self.title]

    def lay_out(self, panel: Panel) -> None:
        """Put the controls into the panel; what is added goes into this section's fold."""

    def connect(self) -> None:
        """Listen."""

    def close(self) -> None:
        """Let go of what outlives the widget."""
