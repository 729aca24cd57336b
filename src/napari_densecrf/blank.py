"""Pixels of a label image that have no label: slices that nobody has refined, and pixels without a value.

They hold the largest number of the image's type, so that they are no class: 0 is one, and the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

# Types of labels that are tried where one has no room, in this order.
_WIDER = {"u": (np.uint16, np.uint32, np.int64), "i": (np.int16, np.int32, np.int64)}


def no_label(dtype: DTypeLike) -> int:
    """Return the number of pixels without a label in a label image of a type: its largest."""
    return int(np.iinfo(np.dtype(dtype)).max)


def type_with_room(dtype: DTypeLike, values: ArrayLike) -> np.dtype[Any]:
    """Return a type for labels, or the next wider one where a label has the number of pixels without a label."""
    dtype, highest = np.dtype(dtype), int(np.max(values))
    wider = (np.dtype(one) for one in _WIDER[dtype.kind])
    return next((one for one in (dtype, *wider) if highest < no_label(one)), dtype)
