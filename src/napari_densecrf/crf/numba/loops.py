"""Loops in place of expressions of NumPy that Numba compiles for seconds."""

from __future__ import annotations

from .compile import inlined


@inlined()
def copy_values(source, target):
    """Copy a line of values to the beginning of another.

    An assignment of one slice to another brings the text of an error about their shapes, which takes Numba a second.
    """
    for k in range(source.size):
        target[k] = source[k]
