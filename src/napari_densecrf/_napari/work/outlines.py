"""How long the borders of classes are: what smoothing changes where areas stay."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of more pixels only so many lines are looked at that this many remain: a share is asked for, and a slider moves.
MOST_PIXELS = 400_000


def border_lengths(classes: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Return (n_classes,): sides of pixels that are a border of each class, on evenly spread lines of large images.

    Parameters
    ----------
    classes : (height, width) unsigned integers
        Those from ``n_classes`` on are none.
    n_classes : int
    """
    every = max(1, classes.size // MOST_PIXELS)
    lengths = np.zeros(n_classes, np.int64)
    rows, columns = classes[::every], classes[:, ::every]
    for here, there in ((rows[:, 1:], rows[:, :-1]), (columns[1:], columns[:-1])):
        differ = here != there
        for side in (here, there):
            lengths += np.bincount(side[differ], minlength=n_classes)[:n_classes]
    return lengths
