"""Contours of objects: drawn in a flat view, put aside in 3D.

There napari draws none, and warns whenever it draws. One warning is left, at the turn to 3D: napari draws before it
tells others of the turn.
"""

from __future__ import annotations

import weakref

from napari.components import ViewerModel
from napari.layers import Labels

# Screen pixels are too thin, and thick lines hide what they are about.
WIDTH = 2


class Contours:
    """The widths of contours of layers that were made here, which are 0 while the view is in 3D.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        # Widths to be given back when the view is flat again.
        self._aside: weakref.WeakKeyDictionary[Labels, int] = weakref.WeakKeyDictionary()
        self._ours: weakref.WeakSet[Labels] = weakref.WeakSet()
        viewer.dims.events.ndisplay.connect(self._turn)

    def close(self) -> None:
        """Listen no more."""
        self._viewer.dims.events.ndisplay.disconnect(self._turn)

    def add(self, layer: Labels, like: Labels | None = None) -> None:
        """Take care of a layer, best before it is in the viewer.

        Parameters
        ----------
        layer : Labels
            Its contour may be set already.
        like : Labels, optional
            One that is cared for, whose contour the layer has now: where that is put aside, both get it back.
        """
        if like is not None and like in self._aside:
            self._aside[layer] = self._aside[like]
        self._ours.add(layer)
        if self._in_3d:
            self._put_aside(layer)

    @property
    def _in_3d(self) -> bool:
        return bool(self._viewer.dims.ndisplay == 3)

    def _put_aside(self, layer: Labels) -> None:
        if layer.contour:
            self._aside[layer] = layer.contour
            layer.contour = 0

    def _turn(self, *_: object) -> None:
        for layer in list(self._ours):
            if self._in_3d:
                self._put_aside(layer)
            elif (width := self._aside.pop(layer, 0)) and not layer.contour:
                layer.contour = width
