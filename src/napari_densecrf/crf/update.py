"""One mean-field update (Numba): slice, update the marginals, and splat them, in one pass over the pixels.

Pixels go through in parts of a line of the grid, so short that what is between the three stays in the first caches
(docs/engine.md has a picture). Old and new marginals are two arrays: what a pixel sends does not depend on which
pixels were updated before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.lattice.filtering import (
    Runs,
    part_of_run,
    read_slots,
    simplices_of,
    slice_points,
    splat_points,
)
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.separate import call_separate

from .grid_gaussian import OnGrid
from .marginals import CHANGE, MEASURE, START, Compatibility, Hearing, Part, Pixels, Scratch

BLOCK = 512
# Parts of lines are so short that the rows that the smoothness kernel reads are still in the cache for the next line.
VALUES_A_PART = 4096
# In a report: `update_part` is not compiled for what it would have been given.
NOT_COMPILED = -1.0


class OnLattice(NamedTuple):
    """A normalised kernel on the lattice, as passes over the pixels take it beside the `Runs` of the lattice.

    Parameters
    ----------
    weight : float32
        0 where there is no such kernel.
    diagonal : (n_points,) float32
        ``k~(i, i)``.
    vertex_values : ((n_vertices + 1) * n_channels,) float32
        The old marginals, splatted and blurred.
    slots : ((n_slots + 1) * n_channels,) float32
        Written: the new marginals, splatted.
    """

    weight: np.float32
    diagonal: NDArray[np.float32]
    vertex_values: NDArray[np.float32]
    slots: NDArray[np.float32]


class Pass(NamedTuple):
    """The arrays that a pass over the pixels reads and writes.

    Parameters
    ----------
    lanes : tuple
        Of `simd.lanes_of`, for the channels.
    corners : (0, 1, ..., d)
        Whether or not there is a lattice.
    runs : Runs
        Without any slots where there is no lattice.
    lattice : OnLattice
        Its slots are written, but by MEASURE.
    grid : OnGrid
    compatibility : Compatibility
    pixels : Pixels
        Its new marginals are written.
    known : (n, 2) int64
        Of the `update_part` for these lanes.
    task : int
        START: set the new marginals to softmax(-psi) and splat them; UPDATE; MEASURE: write only the pairwise energy.
    """

    lanes: tuple[int, ...]
    corners: tuple[int, ...]
    runs: Runs
    lattice: OnLattice
    grid: OnGrid
    compatibility: Compatibility
    pixels: Pixels
    known: NDArray[np.int64]
    task: int


@inlined()
def _pass_over_part(update, blurred, part, scratch, slots, report):
    """Do one pass over a part of a line, whose run has the ``blurred`` values of its slots, and new ``slots``."""
    pixels, lattice, n_channels = update.pixels, update.lattice, update.pixels.n_channels
    begin, end = part.first * n_channels, part.last * n_channels
    simplices = simplices_of(update.corners, update.runs, part.first, part.last)
    if update.task != START:
        if slots.size:
            slice_points(update.lanes, simplices, n_channels, blurred, scratch.received[: end - begin])
        else:
            scratch.received[: end - begin] = np.float32(0.0)
    heard = Hearing(
        lattice.weight,
        lattice.diagonal,
        update.grid,
        update.compatibility,
        pixels,
        part,
        scratch,
        update.task,
        report,
    )
    if not call_separate(update.known, heard):
        report[CHANGE] = NOT_COMPILED
    if update.task != MEASURE and slots.size:
        splat_points(update.lanes, simplices, n_channels, pixels.new[begin:end], slots)


@inlined()
def pixels_a_part(n_channels):
    """Return how many pixels the longest part of a line has."""
    return max(1, min(BLOCK, VALUES_A_PART // n_channels))


@inlined()
def _scratch(length, n_channels, reach_x):
    return Scratch(
        np.empty(length * n_channels, np.float32),
        np.empty((length + 2 * reach_x) * n_channels, np.float32),
        np.empty(length, np.float32),
        np.empty(length * n_channels, np.float32),
        np.empty(length * n_channels, np.float32),
    )


@inlined()
def _update_run(update, run, report):
    """Do one pass over a run, part by part: strips of it that are as wide as the caches hold, line after line."""
    runs, n_channels, width = update.runs, update.pixels.n_channels, update.grid.width
    first_slot, last_slot = runs.run_slots[run], runs.run_slots[run + 1]
    begin, end = part_of_run(run, runs.points_a_run, update.pixels.total.size)
    slots = update.lattice.slots[first_slot * n_channels : last_slot * n_channels]
    blurred = np.empty(slots.size, np.float32)
    if update.task != START:
        read_slots(
            update.lanes, runs.slot_vertices[first_slot:last_slot], n_channels, update.lattice.vertex_values, blurred
        )
    slots[:] = np.float32(0.0)
    report[:] = 0.0
    length = pixels_a_part(n_channels)
    scratch = _scratch(length, n_channels, update.grid.taps_x.size - 1)
    for left in range(0, width, length):
        right = min(left + length, width)
        for line in range(begin // width, (end - 1) // width + 1):
            part = Part(line, max(line * width + left, begin), min(line * width + right, end))
            if part.first < part.last:
                _pass_over_part(update, blurred, part, scratch, slots, report)


@parallel_kernel()
def update_runs(given, run):
    """Do one update of a run of pixels in one pass: slice, smooth, add, softmax, splat for the next.

    Parameters
    ----------
    update : Pass
    report : (n_runs, 3) float64, out
        Pairwise energy of the old marginals; of the new, unary energy relative to the last label's less the entropy;
        the largest difference of the two.
    """
    update, report = arguments_of(given)
    _update_run(update, run, report[run])


_NONE = np.empty(1, np.float32)


def sample_of_hearing(update: Pass) -> Hearing:
    """Return a tuple of the type that `update_part` is given in this pass."""
    return Hearing(
        update.lattice.weight,
        update.lattice.diagonal,
        update.grid,
        update.compatibility,
        update.pixels,
        Part(0, 0, 0),
        Scratch(_NONE, _NONE, _NONE, _NONE, _NONE),
        update.task,
        np.empty(3),
    )
