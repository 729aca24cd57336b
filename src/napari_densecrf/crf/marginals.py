"""From what a pixel hears to its marginals (Numba): smooth, add, softmax. No lattice, so one code for all dimensions.

The formulas are at the head of meanfield.py. A part of a line of the grid goes through at once, so short that its
messages, exponentials and weights stay in the first caches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.by_type import CompiledByType
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.separate import separate_kernel
from napari_densecrf.crf.numba.simd import (
    FOUR,
    ONE,
    SIXTEEN,
    TWO,
    lanes_of,
    larger,
    largest_of,
    load,
    plus,
    spread,
    store,
    sum_of,
    times,
)
from napari_densecrf.crf.numba.vectormath import expf, logf

from .grid_gaussian import OnGrid, add_scaled, smooth_part, total_of_part
from .unary import RULED_OUT

# exp of so much, for each of 65536 labels, is still a float32.
LARGE = np.float32(60.0)
# The tasks of a pass: set Q to softmax(-psi), update it, or measure its pairwise energy.
START, UPDATE, MEASURE = range(3)
# The columns of its report: pairwise energy of the old marginals; unary energy less entropy of the new; their
# largest difference.
PAIRWISE, OTHER, CHANGE = range(3)


class Compatibility(NamedTuple):
    """The costs of two labels beside each other, relative to the last label: C, a, mu(L, .), mu(L, L) of meanfield.py.

    Parameters
    ----------
    coupling : (n_channels, n_channels) float32
        C, transposed.
    offsets, last_costs : (n_channels,) float32
    cost_of_last : float32
    potts : bool
    """

    coupling: NDArray[np.float32]
    offsets: NDArray[np.float32]
    last_costs: NDArray[np.float32]
    cost_of_last: np.float32
    potts: bool


class Pixels(NamedTuple):
    """The values of all pixels. Where no shape is given they are flat, (n_points * n_channels,), channels innermost.

    Parameters
    ----------
    n_channels : int
    unary : float32
    old, new : float32
        Marginals: the old ones are read, the new ones written.
    old_along_z : (depth * height, width * n_channels) float32
        The old marginals as `smooth_part` takes them for its ``source``.
    total : (n_points,) float32
        ``sum_m w_m sum_{j != i} k~_m(i, j)`` of all kernels but the one on the grid, up to ``total_weight``.
    total_weight : float32
    messages : float32, or empty
        What further kernels sent, weighted.
    damping : float32
    kept : float32, or empty
        What is added to the unary energies, read and written where there is damping.
    """

    n_channels: int
    unary: NDArray[np.float32]
    old: NDArray[np.float32]
    old_along_z: NDArray[np.float32]
    new: NDArray[np.float32]
    total: NDArray[np.float32]
    total_weight: np.float32
    messages: NDArray[np.float32]
    damping: np.float32
    kept: NDArray[np.float32]


class Part(NamedTuple):
    """The pixels ``first`` to ``last`` of a line of the grid, counted through the whole grid."""

    line: int
    first: int
    last: int


class Scratch(NamedTuple):
    """Scratch arrays for the longest part of a line.

    Parameters
    ----------
    received, differences, z : (length * n_channels,) float32
        What the lattice sent, ``e_L - e_l``, and the exponents.
    row : float32
        As `smooth_part` wants it.
    total : (length,) float32
    """

    received: NDArray[np.float32]
    row: NDArray[np.float32]
    total: NDArray[np.float32]
    differences: NDArray[np.float32]
    z: NDArray[np.float32]


class Hearing(NamedTuple):
    """What a part of a line hears, and where its new marginals go: what `update_part` is given.

    Parameters
    ----------
    lattice_weight : float32
    diagonal : (n_points,) float32
        ``k~(i, i)`` of the kernel on the lattice, of all pixels.
    grid : OnGrid
    compatibility : Compatibility
    pixels : Pixels
    part : Part
    scratch : Scratch
        Its ``received`` holds what the lattice sent.
    task : int
        START, UPDATE or MEASURE.
    report : (3,) float64
        Added to.
    """

    lattice_weight: np.float32
    diagonal: NDArray[np.float32]
    grid: OnGrid
    compatibility: Compatibility
    pixels: Pixels
    part: Part
    scratch: Scratch
    task: int
    report: NDArray[np.float64]


@inlined()
def _messages_of_one(compatibility, lattice_weight, diagonal, received, total, marginals, messages):
    """Do what `_messages_of_several` does for two labels: all arrays are (n_points,), one vector loop."""
    couple, offset = compatibility.coupling[0, 0], compatibility.offsets[0]
    cost_of_first, cost_of_last = compatibility.last_costs[0], compatibility.cost_of_last
    energy = np.float32(0.0)
    for p in range(messages.size):
        message = messages[p] + lattice_weight * (received[p] - diagonal[p] * marginals[p])
        difference = offset * total[p] + couple * message
        energy += cost_of_first * message + cost_of_last * (total[p] - message) - marginals[p] * difference
        messages[p] = difference
    return 0.5 * np.float64(energy)


@kernel()
def _receive(lanes, here, there, lattice_weight, diagonal, received, marginals, messages):
    """Add ``w (received - k~_ii Q_i)``, the sum over j != i, to messages of a point; return their sum."""
    weight = spread(lanes, lattice_weight)
    minus_diagonal = spread(lanes, -lattice_weight * diagonal)
    shared = spread(lanes, np.float32(0.0))
    for k in range(here, there, len(lanes)):
        others = plus(times(weight, load(lanes, received, k)), times(minus_diagonal, load(lanes, marginals, k)))
        message = plus(load(lanes, messages, k), others)
        store(messages, k, message)
        shared = plus(shared, message)
    return sum_of(shared)


@inlined()
def _add_to_point(lanes, here, there, rest, messages):
    for k in range(here, there, len(lanes)):
        store(messages, k, plus(load(lanes, messages, k), spread(lanes, rest)))


@kernel()
def _dot(a, b):
    total = np.float32(0.0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@inlined()
def _couple(lanes, here, there, compatibility, total, messages, differences):
    """Write ``K a(l) + sum_l' C(l, l') M(l')`` of a point."""
    offsets = compatibility.offsets
    coupling = compatibility.coupling.reshape(compatibility.coupling.size)
    for c in range(0, there - here, len(lanes)):
        difference = times(spread(lanes, total), load(lanes, offsets, c))
        for other in range(there - here):
            row = load(lanes, coupling, other * (there - here) + c)
            difference = plus(difference, times(spread(lanes, messages[here + other]), row))
        store(differences, c, difference)


@inlined()
def _messages_of_several(lanes, compatibility, lattice_weight, diagonal, received, total, marginals, messages):
    """Add what the lattice sent, turn messages into ``e_L - e_l``; return ``1/2 sum_i sum_l Q_i(l) e_i(l)``.

    lanes
        Whose width divides the number of channels.
    compatibility : Compatibility
    lattice_weight : float32
    diagonal, total : (n_points,) float32, k~_ii and K
    received : (n_points * n_channels,) float32
        What the lattice sent, j = i included.
    marginals : (n_points * n_channels,) float32
    messages : (n_points * n_channels,) float32, in and out
        What the other kernels sent, weighted; then the differences.
    """
    n_points = total.size
    n_channels = messages.size // n_points
    costs = np.float32(0.0)
    of_last = np.float64(0.0)
    differences = np.empty(n_channels, np.float32)
    for p in range(n_points):
        here, there = p * n_channels, (p + 1) * n_channels
        shared = _receive(lanes, here, there, lattice_weight, diagonal[p], received, marginals, messages)
        if compatibility.potts:
            # e_L - e_l = M(l) + sum_l' M(l') - K, and e_L = sum_l' M(l').
            of_last += shared
            _add_to_point(lanes, here, there, shared - total[p], messages)
        else:
            of_last += compatibility.cost_of_last * (total[p] - shared)
            costs += _dot(compatibility.last_costs, messages[here:there])
            _couple(lanes, here, there, compatibility, total[p], messages, differences)
            for c in range(n_channels):
                messages[here + c] = differences[c]
    return 0.5 * (of_last + np.float64(costs) - np.float64(_dot(marginals, messages)))


@inlined()
def _damp(damping, kept, differences):
    """Mix the natural parameters, flat: both hold psi_L - psi_l, so mixing what is added to it is enough."""
    for k in range(differences.size):
        mixed = damping * kept[k] + (np.float32(1.0) - damping) * differences[k]
        kept[k] = mixed
        differences[k] = mixed


@inlined()
def _sum_of_logs(factors):
    """Return the sum of the logs of (n,) float32 from 1 to 2: of products of sixteen, as a log costs many products."""
    size = factors.size // 16
    total = np.float32(0.0)
    for k in range(size):
        product = np.float32(1.0)
        for j in range(16):
            product *= factors[j * size + k]
        total += logf(product)
    for k in range(16 * size, factors.size):
        total += logf(factors[k])
    return total


@inlined()
def _sigmoid(unary, differences, marginals, factors):
    """Do what `_softmax` does for two labels, all arrays (n_points,); ``factors`` is scratch.

    exp of what is not positive cannot overflow: Q = 1 / (1 + e^-|z|), or 1 less that.
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    energy = np.float32(0.0)
    for p in range(unary.size):
        z = unary[p] + differences[p]
        size = abs(z)
        small = expf(-size)
        larger_one = one / (one + small)
        q = larger_one if z >= zero else small * larger_one
        marginals[p] = q
        counted = size < np.float32(0.5 * RULED_OUT)
        factors[p] = one + small if counted else one
        energy += q * differences[p] - max(z, zero) if counted else zero
    return np.float64(energy) - np.float64(_sum_of_logs(factors))


@kernel()
def _exponentials(flat):
    for k in range(flat.size):
        flat[k] = expf(flat[k])


@inlined()
def _normalisers(largest, rests, energy):
    """Return the energy less ``log (1 + sum exp z)`` of each point, from its largest z and its sum relative to that."""
    for p in range(largest.size):
        gained = largest[p] + logf(rests[p])
        energy -= gained if largest[p] < np.float32(0.5 * RULED_OUT) else np.float32(0.0)
    return energy


@inlined()
def _add_up(unary, differences, z):
    """Write ``z = psi_L - psi_l + e_L - e_l``, flat; tell whether any is too large for exp in a sum."""
    excess = np.int32(0)
    for k in range(z.size):
        both = unary[k] + differences[k]
        z[k] = both
        excess |= np.int32(both > LARGE)
    return excess != 0


@inlined()
def _lower(lanes, n_channels, z, largest, rests):
    """Take the largest z of each point, or the last label's 0, off all of them; write it, and what is left of the 0."""
    for p in range(largest.size):
        here, there = p * n_channels, (p + 1) * n_channels
        most = spread(lanes, np.float32(0.0))
        for k in range(here, there, len(lanes)):
            most = larger(most, load(lanes, z, k))
        largest[p] = largest_of(most)
        rests[p] = -largest[p]
        for k in range(here, there, len(lanes)):
            store(z, k, plus(load(lanes, z, k), spread(lanes, rests[p])))


@inlined()
def _sum_of_point(lanes, here, there, z):
    total = spread(lanes, np.float32(0.0))
    for k in range(here, there, len(lanes)):
        total = plus(total, load(lanes, z, k))
    return sum_of(total)


@inlined()
def _scale_point(lanes, here, there, factor, z, marginals):
    for k in range(here, there, len(lanes)):
        store(marginals, k, times(load(lanes, z, k), spread(lanes, factor)))


@kernel()
def _divide(lanes, n_channels, exponentials, rests, marginals):
    """Write ``Q = exp z / (exp z_L + sum exp z)``, flat; ``rests`` is exp z_L, and then the sum."""
    for p in range(rests.size):
        here, there = p * n_channels, (p + 1) * n_channels
        total = rests[p] + _sum_of_point(lanes, here, there, exponentials)
        rests[p] = total
        _scale_point(lanes, here, there, np.float32(1.0) / total, exponentials, marginals)


@inlined()
def _softmax(lanes, n_channels, unary, differences, marginals, z):
    """Write ``Q = exp z / (1 + sum exp z)``, ``z = psi_L - psi_l + e_L - e_l``; return its own energy.

    That is ``sum_i sum_l Q_i(l) (psi_i(l) - psi_i(L) + log Q_i(l))``, which is
    ``sum_i (sum_l Q_i(l) (e_L - e_l) - log(1 + sum_l exp z(l)))``, without the points that strokes rule. All arrays
    are (n_points * n_channels,) float32; ``z`` is scratch.
    """
    n_points = unary.size // n_channels
    largest = np.zeros(n_points, np.float32)
    rests = np.ones(n_points, np.float32)
    # Relative to the largest z where it must be, so that nothing overflows: near strokes, or with enormous weights.
    relative = _add_up(unary, differences, z)
    if relative:
        _lower(lanes, n_channels, z, largest, rests)
        _exponentials(rests)
    _exponentials(z)
    _divide(lanes, n_channels, z, rests, marginals)
    gained = np.float32(0.0)
    if relative:
        for p in range(n_points):
            if largest[p] < np.float32(0.5 * RULED_OUT):
                here, there = p * n_channels, (p + 1) * n_channels
                gained += _dot(marginals[here:there], differences[here:there])
    else:
        gained = _dot(marginals, differences)
    return np.float64(_normalisers(largest, rests, gained))


@kernel()
def _differences(lanes, compatibility, lattice_weight, diagonal, received, total, marginals, messages):
    """Choose between `_messages_of_one` and the vectors of `_messages_of_several`; arrays are flat."""
    if len(lanes) == 1:
        return _messages_of_one(compatibility, lattice_weight, diagonal, received, total, marginals, messages)
    return _messages_of_several(lanes, compatibility, lattice_weight, diagonal, received, total, marginals, messages)


@kernel()
def _marginals(lanes, n_channels, unary, differences, marginals, z):
    """Choose between `_sigmoid` and the vectors of `_softmax`."""
    if len(lanes) == 1:
        return _sigmoid(unary, differences, marginals, z)
    return _softmax(lanes, n_channels, unary, differences, marginals, z)


@inlined()
def _largest_change(old, new):
    """Return the largest ``|new - old|``, flat: compared as integers, whose order is that of floats without a sign."""
    most = np.int32(0)
    for k in range(old.size):
        most = max(most, np.int32(np.float32(abs(new[k] - old[k])).view(np.int32)))
    return np.int32(most).view(np.float32)


@inlined()
def _listen(lanes, heard, differences):
    """Write ``e_L - e_l`` of the part, flat, before damping; return half of ``sum_i sum_l Q_i(l) e_i(l)``."""
    pixels, grid, part, scratch = heard.pixels, heard.grid, heard.part, heard.scratch
    first, last, n_channels = part.first, part.last, pixels.n_channels
    old = pixels.old[first * n_channels : last * n_channels]
    received, total = scratch.received[: old.size], scratch.total[: last - first]
    begin = first - part.line * grid.width
    if grid.weight > 0:
        end = begin + last - first
        smooth_part(grid, pixels.old_along_z, part.line, begin, end, old, scratch.row, differences)
        total_of_part(grid, part.line, begin, total)
    else:
        differences[:] = np.float32(0.0)
        total[:] = np.float32(0.0)
    add_scaled(total, pixels.total[first:last], pixels.total_weight)
    if pixels.messages.size:
        add_scaled(differences, pixels.messages[first * n_channels : last * n_channels], np.float32(1.0))
    diagonal = heard.diagonal[first:last]
    return _differences(lanes, heard.compatibility, heard.lattice_weight, diagonal, received, total, old, differences)


@inlined()
def _update_part(lanes, heard):
    """Do one pass over a part of a line, `Hearing`: write its new marginals, and add to the report."""
    pixels, report = heard.pixels, heard.report
    begin, end = heard.part.first * pixels.n_channels, heard.part.last * pixels.n_channels
    differences, z = heard.scratch.differences[: end - begin], heard.scratch.z[: end - begin]
    if heard.task == START:
        differences[:] = np.float32(0.0)
    else:
        report[PAIRWISE] += _listen(lanes, heard, differences)
        if heard.task == MEASURE:
            return
        if pixels.damping > 0:
            _damp(pixels.damping, pixels.kept[begin:end], differences)
    new = pixels.new[begin:end]
    report[OTHER] += _marginals(lanes, pixels.n_channels, pixels.unary[begin:end], differences, new, z)
    if heard.task == UPDATE:
        report[CHANGE] = max(report[CHANGE], np.float64(_largest_change(pixels.old[begin:end], new)))


@separate_kernel()
def _of_two_labels(given):
    _update_part(ONE, arguments_of(given))


@separate_kernel()
def _of_three_labels(given):
    _update_part(TWO, arguments_of(given))


@separate_kernel()
def _of_several_labels(given):
    _update_part(FOUR, arguments_of(given))


@separate_kernel()
def _of_many_labels(given):
    _update_part(SIXTEEN, arguments_of(given))


_UPDATE_PART = {ONE: _of_two_labels, TWO: _of_three_labels, FOUR: _of_several_labels, SIXTEEN: _of_many_labels}


def update_part(n_channels: int) -> CompiledByType:
    """Return what does one pass over a part of a line, `Hearing`, with so many channels.

    It writes the new marginals, and adds to the report. For each width of vectors it is compiled when it is needed.
    """
    return _UPDATE_PART[lanes_of(n_channels)]
