"""One mean-field update (Numba): slice, smooth, add, softmax and splat in one pass over the pixels.

The formulas are at the head of meanfield.py. Pixels go through in blocks, parts of a line of the grid, so that their
messages, exponentials and weights stay in the first caches. Old and new marginals are two arrays: what a pixel sends
does not depend on which were updated before.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .filtering import read_slots, slice_points, splat_points, tile_range
from .gaussian import smooth_part
from .kernels import kernel, parallel_kernel
from .lanes import FOUR, TWO, larger, largest_of, load, plus, spread, store, sum_of, times
from .unary import RULED_OUT
from .vectormath import expf, logf

BLOCK = 512
# What is summed over the pixels: the pairwise energy of the old marginals; unary energy less entropy of the new.
PAIRWISE, OTHER = range(2)


@kernel()
def _messages_of_one(compatibility, lattice_weight, self_share, received, total, marginals, messages):
    """Do what `_messages_of_several` does for two labels: all arrays are (n_points,), one vector loop."""
    coupling, offsets, last_costs, cost_of_last, _ = compatibility
    couple, offset, cost_of_first = coupling[0, 0], offsets[0], last_costs[0]
    energy = np.float32(0.0)
    for p in range(messages.size):
        message = messages[p] + lattice_weight * (received[p] - self_share[p] * marginals[p])
        difference = offset * total[p] + couple * message
        energy += cost_of_first * message + cost_of_last * (total[p] - message) - marginals[p] * difference
        messages[p] = difference
    return 0.5 * np.float64(energy)


@kernel()
def _receive(lanes, here, there, lattice_weight, self_share, received, marginals, messages):
    """Add ``w (received - k~_ii Q_i)``, the sum over j != i, to the messages of a point; return their sum."""
    weight = spread(lanes, lattice_weight)
    own = spread(lanes, -lattice_weight * self_share)
    shared = spread(lanes, np.float32(0.0))
    for k in range(here, there, len(lanes)):
        others = plus(times(weight, load(lanes, received, k)), times(own, load(lanes, marginals, k)))
        message = plus(load(lanes, messages, k), others)
        store(messages, k, message)
        shared = plus(shared, message)
    return sum_of(shared)


@kernel()
def _couple(lanes, here, there, coupling, offsets, total, messages, differences):
    """Write ``K a(l) + sum_l' C(l, l') M(l')`` of a point."""
    for c in range(0, there - here, len(lanes)):
        difference = times(spread(lanes, total), load(lanes, offsets, c))
        for other in range(there - here):
            row = load(lanes, coupling, other * (there - here) + c)
            difference = plus(difference, times(spread(lanes, messages[here + other]), row))
        store(differences, c, difference)


@kernel()
def _messages_of_several(lanes, compatibility, lattice_weight, self_share, received, total, marginals, messages):
    """Add what the lattice sent, turn messages into ``e_L - e_l``; return ``1/2 sum_i sum_l Q_i(l) e_i(l)``.

    lanes
        Whose width divides the number of channels.
    compatibility : (coupling, offsets, last_costs, cost_of_last, potts), C, a, mu(L, .) and mu(L, L) of the module
    lattice_weight : float32
    self_share, total : (n_points,) float32, k~_ii and K
    received : (n_points * n_channels,) float32
        What the lattice sent, j = i included.
    marginals : (n_points * n_channels,) float32
    messages : (n_points * n_channels,) float32, in and out
        What the other kernels sent, weighted; then the differences.
    """
    coupling, offsets, last_costs, cost_of_last, potts = compatibility
    n_points, n_channels = total.size, offsets.size
    flat_coupling = coupling.reshape(coupling.size)
    differences = np.empty(n_channels, np.float32)
    minus = spread(lanes, np.float32(-1.0))
    of_last = np.float64(0.0)
    gained = spread(lanes, np.float32(0.0))
    for p in range(n_points):
        here, there = p * n_channels, (p + 1) * n_channels
        shared = _receive(lanes, here, there, lattice_weight, self_share[p], received, marginals, messages)
        if potts:
            # e_L - e_l = M(l) + sum_l' M(l') - K, and e_L = sum_l' M(l').
            of_last += shared
            rest = spread(lanes, shared - total[p])
            for k in range(here, there, len(lanes)):
                difference = plus(load(lanes, messages, k), rest)
                store(messages, k, difference)
                gained = plus(gained, times(load(lanes, marginals, k), difference))
        else:
            of_last += cost_of_last * (total[p] - shared)
            _couple(lanes, here, there, flat_coupling, offsets, total[p], messages, differences)
            for c in range(0, n_channels, len(lanes)):
                difference = load(lanes, differences, c)
                cost = times(load(lanes, last_costs, c), load(lanes, messages, here + c))
                gained = plus(gained, times(load(lanes, marginals, here + c), difference))
                gained = plus(gained, times(minus, cost))
                store(messages, here + c, difference)
    return 0.5 * (of_last - np.float64(sum_of(gained)))


@kernel()
def _damp(damping, kept, differences):
    """Mix the natural parameters, flat: both hold psi_L - psi_l, so mixing what is added to it is enough."""
    for k in range(differences.size):
        mixed = damping * kept[k] + (np.float32(1.0) - damping) * differences[k]
        kept[k] = mixed
        differences[k] = mixed


@kernel()
def _sigmoid(unary, differences, marginals):
    """Do what `_softmax` does for two labels, all arrays (n_points,).

    exp of what is not positive cannot overflow: Q = 1 / (1 + e^-|z|), or 1 less that.
    """
    one, nothing = np.float32(1.0), np.float32(0.0)
    energy = np.float32(0.0)
    for p in range(unary.size):
        z = unary[p] + differences[p]
        size = abs(z)
        small = expf(-size)
        larger_one = one / (one + small)
        q = larger_one if z >= nothing else small * larger_one
        marginals[p] = q
        gained = q * differences[p] - max(z, nothing) - logf(one + small)
        energy += gained if size < np.float32(0.5 * RULED_OUT) else nothing
    return np.float64(energy)


@kernel()
def _exponentials(flat):
    for k in range(flat.size):
        flat[k] = expf(flat[k])


@kernel()
def _normalisers(largest, rests, energy):
    """Return the energy less ``log (1 + sum exp z)`` of each point, from its largest z and its sum relative to that."""
    for p in range(largest.size):
        gained = largest[p] + logf(rests[p])
        energy -= gained if largest[p] < np.float32(0.5 * RULED_OUT) else np.float32(0.0)
    return energy


@kernel()
def _softmax(lanes, unary, differences, marginals, z):
    """Write ``Q = exp z / (1 + sum exp z)``, ``z = psi_L - psi_l + e_L - e_l``; return its own energy.

    That is ``sum_i sum_l Q_i(l) (psi_i(l) - psi_i(L) + log Q_i(l))``, which is
    ``sum_i (sum_l Q_i(l) (e_L - e_l) - log(1 + sum_l exp z(l)))``, without the points that strokes rule. All arrays
    are (n_points, n_channels) float32; ``z`` is room to work.
    """
    n_points, n_channels = unary.shape
    largest = np.empty(n_points, np.float32)
    rests = np.empty(n_points, np.float32)
    flat_unary, flat_differences = unary.reshape(unary.size), differences.reshape(unary.size)
    flat_marginals, flat_z = marginals.reshape(unary.size), z.reshape(unary.size)
    for p in range(n_points):
        here = p * n_channels
        most = spread(lanes, np.float32(0.0))
        for k in range(here, here + n_channels, len(lanes)):
            both = plus(load(lanes, flat_unary, k), load(lanes, flat_differences, k))
            store(flat_z, k, both)
            most = larger(most, both)
        largest[p] = largest_of(most)
        rests[p] = -largest[p]
        # Relative to the largest z, so that nothing overflows.
        lower = spread(lanes, rests[p])
        for k in range(here, here + n_channels, len(lanes)):
            store(flat_z, k, plus(load(lanes, flat_z, k), lower))
    _exponentials(flat_z)
    _exponentials(rests)
    gained = spread(lanes, np.float32(0.0))
    for p in range(n_points):
        here = p * n_channels
        total = spread(lanes, np.float32(0.0))
        for k in range(here, here + n_channels, len(lanes)):
            total = plus(total, load(lanes, flat_z, k))
        rests[p] += sum_of(total)
        inverse = spread(lanes, np.float32(1.0) / rests[p])
        counted = spread(lanes, np.float32(largest[p] < np.float32(0.5 * RULED_OUT)))
        for k in range(here, here + n_channels, len(lanes)):
            q = times(load(lanes, flat_z, k), inverse)
            store(flat_marginals, k, q)
            gained = plus(gained, times(times(counted, q), load(lanes, flat_differences, k)))
    return np.float64(_normalisers(largest, rests, sum_of(gained)))


@kernel()
def _differences(compatibility, lattice_weight, self_share, received, total, marginals, messages):
    """Choose between `_messages_of_one` and the vectors of `_messages_of_several`; arrays are flat."""
    n_channels = messages.size // total.size
    if n_channels == 1:
        return _messages_of_one(compatibility, lattice_weight, self_share, received, total, marginals, messages)
    if n_channels == 2:
        return _messages_of_several(
            TWO, compatibility, lattice_weight, self_share, received, total, marginals, messages
        )
    return _messages_of_several(FOUR, compatibility, lattice_weight, self_share, received, total, marginals, messages)


@kernel()
def _marginals(unary, differences, marginals, z):
    """Choose between `_sigmoid` and the vectors of `_softmax`."""
    n_points, n_channels = unary.shape
    if n_channels == 1:
        return _sigmoid(unary.reshape(n_points), differences.reshape(n_points), marginals.reshape(n_points))
    if n_channels == 2:
        return _softmax(TWO, unary, differences, marginals, z)
    return _softmax(FOUR, unary, differences, marginals, z)


@kernel()
def _totals(sums, smoothness_weight, height, line, first, total_weight, rest_total, total):
    """Write K of a part of a line from the pixel ``first`` on, a product over the axes where it is the grid's."""
    sum_z, sum_y, sum_x, own_z, own_y, own_x = sums
    z, y = line // height, line % height
    all_of_line = smoothness_weight * sum_z[z] * sum_y[y]
    own_of_line = smoothness_weight * own_z[z] * own_y[y]
    along, own = sum_x[first : first + total.size], own_x[first : first + total.size]
    for k in range(total.size):
        smooth = all_of_line * along[k] - own_of_line * own[k]
        total[k] = smooth + total_weight * rest_total[k]


@kernel()
def _add(target, source):
    for k in range(target.size):
        target[k] += source[k]


@kernel()
def _start_tile(corners, vertices, weights, points, unary, marginals, slots):
    n_channels = unary.shape[1]
    slots[:] = np.float32(0.0)
    nothing = np.zeros((BLOCK, n_channels), np.float32)
    z = np.empty((BLOCK, n_channels), np.float32)
    for first in range(points[0], points[1], BLOCK):
        last = min(first + BLOCK, points[1])
        size = last - first
        _marginals(unary[first:last], nothing[:size], marginals[first:last], z[:size])
        splat_points(corners, vertices[first:last], weights[first:last], marginals[first:last], slots)


@parallel_kernel()
def start_tiles(corners, vertices, weights, tile_points, tile_slots, unary, marginals, slots):
    """Set Q to softmax(-psi), and splat it; see `update_tiles`."""
    for tile in nb.prange(tile_slots.size - 1):
        points = tile_range(tile, tile_points, len(unary))
        first, last = tile_slots[tile], tile_slots[tile + 1]
        _start_tile(corners, vertices, weights, points, unary, marginals, slots[first:last])


@kernel()
def _update_tile(
    corners,
    vertices,
    weights,
    points,
    slot_vertices,
    vertex_values,
    self_share,
    rest_total,
    kernel_weights,
    height,
    width,
    smoothing,
    sums,
    smoothed,
    compatibility,
    damping,
    unary,
    messages,
    old,
    new,
    kept,
    slots,
    measure_only,
    energies,
):
    """Do one update of one tile, block by block."""
    lattice_weight, smoothness_weight, total_weight = kernel_weights
    n_channels = unary.shape[1]
    reach = smoothing[1].size - 1
    blurred = np.empty((slot_vertices.size, n_channels), np.float32)
    read_slots(slot_vertices, vertex_values, blurred)
    slots[:] = np.float32(0.0)
    room = np.empty((3, BLOCK, n_channels), np.float32)
    row = np.empty((BLOCK + 2 * reach) * n_channels, np.float32)
    totals = np.empty(BLOCK, np.float32)
    energies[:] = 0.0
    first = points[0]
    while first < points[1]:
        line = first // width
        last = min(first + BLOCK, (line + 1) * width, points[1])
        size = last - first
        begin = first - line * width
        sent, received, z = room[0, :size], room[1, :size], room[2, :size]
        total = totals[:size]
        flat = sent.reshape(size * n_channels)
        q = old[first:last].reshape(size * n_channels)
        if smoothness_weight > 0:
            end = begin + size
            smooth_part(height, n_channels, smoothing, smoothness_weight, smoothed, line, begin, end, q, row, flat)
            _totals(sums, smoothness_weight, height, line, begin, total_weight, rest_total[first:last], total)
        else:
            flat[:] = np.float32(0.0)
            _totals(sums, smoothness_weight, height, 0, 0, total_weight, rest_total[first:last], total)
        if messages.size:
            _add(flat, messages[first:last].reshape(size * n_channels))
        slice_points(corners, vertices[first:last], weights[first:last], blurred, received)
        arrived = received.reshape(size * n_channels)
        energies[PAIRWISE] += _differences(
            compatibility, lattice_weight, self_share[first:last], arrived, total, q, flat
        )
        if not measure_only:
            if damping > 0:
                _damp(damping, kept[first:last].reshape(size * n_channels), flat)
            energies[OTHER] += _marginals(unary[first:last], sent, new[first:last], z)
            splat_points(corners, vertices[first:last], weights[first:last], new[first:last], slots)
        first = last


@parallel_kernel()
def update_tiles(
    corners,
    vertices,
    weights,
    tile_points,
    tile_slots,
    slot_vertices,
    vertex_values,
    self_share,
    rest_total,
    kernel_weights,
    height,
    width,
    smoothing,
    sums,
    smoothed,
    compatibility,
    damping,
    unary,
    messages,
    old,
    new,
    kept,
    slots,
    measure_only,
    energies,
):
    """Do one update in one pass: slice, smooth, add, softmax, splat for the next.

    Parameters
    ----------
    corners, vertices, weights, tile_points, tile_slots, slot_vertices
        Of the lattice, normalised; without one, no corners.
    vertex_values : (n_vertices + 1, n_channels) float32
        The old marginals, splatted and blurred.
    self_share : (n_points,) float32
        ``k~(i, i)`` of the lattice.
    rest_total : (n_points,) float32
        ``sum_{j != i} k~(i, j)`` of all kernels but the one on the grid.
    kernel_weights : (float32, float32, float32)
        Of the lattice and of the kernel on the grid, 0 where there is none; of ``rest_total``.
    height, width : int
        Of the grid, whose lines are ``z * height + y``.
    smoothing, smoothed
        As `smooth_part` takes them, ``smoothed`` for its ``source``.
    sums : (sum_z, sum_y, sum_x, own_z, own_y, own_x) float32
        `GridGaussian.sums` and ``own``.
    compatibility : (coupling, offsets, last_costs, cost_of_last, potts)
        As `_messages_of_several` takes it.
    damping : float32
    unary : (n_points, n_channels) float32
    messages : (n_points, n_channels) float32, or no points
        What further kernels sent, weighted.
    old, new : (n_points, n_channels) float32, in and out
        Marginals.
    kept : like old, in and out
        What is added to the unary energies; read where there is damping.
    slots : (n_slots, n_channels) float32, out
        The new marginals, splatted.
    measure_only : bool
        Whether only the pairwise energy is wanted.
    energies : (n_tiles, 2) float64, out
        Pairwise energy of the old marginals; of the new, unary energy relative to the last label's less the entropy.
    """
    for tile in nb.prange(len(energies)):
        first, last = tile_slots[tile], tile_slots[tile + 1]
        _update_tile(
            corners,
            vertices,
            weights,
            tile_range(tile, tile_points, len(unary)),
            slot_vertices[first:last],
            vertex_values,
            self_share,
            rest_total,
            kernel_weights,
            height,
            width,
            smoothing,
            sums,
            smoothed,
            compatibility,
            damping,
            unary,
            messages,
            old,
            new,
            kept,
            slots[first:last],
            measure_only,
            energies[tile],
        )
