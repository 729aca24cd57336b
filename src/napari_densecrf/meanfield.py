"""The mean-field iterations (Numba), reading like the model: docs/model.md.

Marginals sum to one, so L - 1 of L labels are kept, (n_points, n_labels - 1), the last is the rest; and what the last
would have received is known beforehand: with K = sum_m w_m sum_{j != i} k~_m, its message is K less the others'. In
terms of the messages M(l) of the others, and of energies relative to the last label's, z(l) = E(L) - E(l), the update:

    z(l) = psi_L - psi_l + (e_L - e_l),    e_l = sum_l' mu(l, l') M(l'),    Q(l) = exp z(l) / (1 + sum_l' exp z(l'))

where  e_L - e_l = K a(l) + sum_{l' < L} C(l, l') M(l'),
       a(l) = mu(L, L) - mu(l, L),    C(l, l') = mu(L, l') - mu(l, l') - mu(L, L) + mu(l, L).

For Potts a = -1 and C = 1 + identity: the label's own message and the sum of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numba as nb
import numpy as np
from numpy.typing import NDArray

from .kernels import kernel, one_at_a_time, parallel_kernel
from .filtering import read_slots, slice_points, splat_points, tile_range
from .lattice import Lattice
from .params import CRFParams
from .unary import RULED_OUT, Unary
from .vectormath import expf, logf

# Points that go through an update together: their messages, exponentials and weights stay in the first cache.
BLOCK = 512
UNARY, PAIRWISE, ENTROPY = range(3)
NO_SLOTS = np.empty((0, 1), np.float32)


class PairwiseTerm(Protocol):
    """A normalised kernel k~ with j = i left out."""

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""

    def add_messages(
        self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32], *, accumulate: bool
    ) -> None:
        """Add (or set) ``weight * sum_{j != i} k~(i, j) Q_j``."""


class LatticeGaussian:
    """A kernel on the permutohedral lattice, normalised symmetrically, with the lattice's own diagonal left out.

    Parameters
    ----------
    lattice : Lattice
        Which becomes part of this kernel: its weights are normalised in place.
    """

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.self_share, self._total = lattice.normalise()

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        return self._total

    def add_messages(
        self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32], *, accumulate: bool
    ) -> None:
        """Add (or set) ``weight * sum_{j != i} k~(i, j) Q_j``; see `PairwiseTerm`."""
        lattice = self.lattice
        with one_at_a_time:
            slots = lattice.splat(marginals)
        self.add_splatted(slots, marginals, weight, messages, accumulate=accumulate)

    def add_splatted(
        self,
        slots: NDArray[np.float32],
        marginals: NDArray[np.float32],
        weight: float,
        messages: NDArray[np.float32],
        *,
        accumulate: bool,
    ) -> None:
        """Do what `add_messages` does, for marginals that have been splatted into ``slots`` already."""
        with one_at_a_time:
            received = self.lattice.slice(self.lattice.gather_and_blur(slots))
        received -= self.self_share[:, None] * marginals
        received *= np.float32(weight)
        if accumulate:
            messages += received
        else:
            messages[:] = received


@dataclass(frozen=True)
class MeanFieldState:
    """Where an iteration stands.

    Parameters
    ----------
    iteration : int
        Updates done.
    marginals : (n_points, n_labels - 1) float32
        Of all labels but the last. The next iteration writes into the same array.
    free_energy : (iteration + 1,) float64
        F(Q) from the start on; the last waits for the next state, and is NaN until the end.
    """

    iteration: int
    marginals: NDArray[np.float32]
    free_energy: NDArray[np.float64]


@kernel()
def _two_labels(coupling, offset, last_costs, messages, total, marginals, differences):
    """Do what `_pairwise` does for two labels: all arrays are (n_points,), one vector loop."""
    cost_of_first, cost_of_last = last_costs
    energy = np.float32(0.0)
    for p in range(messages.size):
        difference = offset * total[p] + coupling * messages[p]
        energy += cost_of_first * messages[p] + cost_of_last * (total[p] - messages[p]) - marginals[p] * difference
        differences[p] = difference
    return energy


@kernel()
def _potts(messages, total, marginals, differences):
    """Do what `_pairwise` does for the Potts compatibility: e_L - e_l = M(l) + sum_l' M(l') - K."""
    energy = np.float32(0.0)
    for p in range(len(messages)):
        shared = np.float32(0.0)
        for c in range(messages.shape[1]):
            shared += messages[p, c]
        energy += shared
        shared -= total[p]
        for c in range(messages.shape[1]):
            differences[p, c] = messages[p, c] + shared
            energy -= marginals[p, c] * differences[p, c]
    return energy


@kernel()
def _pairwise(compatibility, messages, total, marginals, differences):
    """Write ``e_L - e_l`` of each point, and return ``1/2 sum_i sum_l Q_i(l) e_i(l)``.

    compatibility : (coupling, offsets, last_costs, potts), C, a and mu(L, .) of the module
    messages, marginals, differences : (n_points, n_channels) float32
    total : (n_points,) float32, K
    """
    coupling, offsets, last_costs, potts = compatibility
    n_points, n_channels = messages.shape
    energy = np.float32(0.0)
    if n_channels == 1:
        costs = (last_costs[0], last_costs[1])
        energy = _two_labels(
            coupling[0, 0],
            offsets[0],
            costs,
            messages.reshape(n_points),
            total,
            marginals.reshape(n_points),
            differences.reshape(n_points),
        )
    elif potts:
        energy = _potts(messages, total, marginals, differences)
    else:
        for p in range(n_points):
            rest = total[p]
            for c in range(n_channels):
                rest -= messages[p, c]
                energy += last_costs[c] * messages[p, c]
                difference = offsets[c] * total[p]
                for other in range(n_channels):
                    difference += coupling[c, other] * messages[p, other]
                differences[p, c] = difference
                energy -= marginals[p, c] * difference
            energy += last_costs[n_channels] * rest
    return 0.5 * np.float64(energy)


@kernel()
def _unary_energy(unary, marginals):
    """Return ``sum Q (psi_l - psi_L)`` over flat arrays, without what strokes rule out."""
    energy = np.float32(0.0)
    for k in range(unary.size):
        ruled_out = abs(unary[k]) >= np.float32(RULED_OUT)
        energy -= np.float32(0.0) if ruled_out else marginals[k] * unary[k]
    return np.float64(energy)


@kernel()
def _sigmoid(z, marginals):
    """Do what `_softmax` does for two labels, all arrays (n_points,).

    exp of what is not positive cannot overflow: Q = 1 / (1 + e^-|z|), or 1 less that.
    """
    one = np.float32(1.0)
    entropy = np.float32(0.0)
    for p in range(z.size):
        size = abs(z[p])
        small = expf(-size)
        larger = one / (one + small)
        marginals[p] = larger if z[p] >= np.float32(0.0) else small * larger
        entropy -= logf(one + small) + size * small * larger
    return entropy


@kernel()
def _exponentials(flat):
    for k in range(flat.size):
        flat[k] = expf(flat[k])


@kernel()
def _softmax(z, marginals):
    """Write ``Q = exp z / (1 + sum exp z)`` of each point, and return ``sum_i sum_l Q_i(l) log Q_i(l)``."""
    n_points, n_channels = z.shape
    if n_channels == 1:
        return np.float64(_sigmoid(z.reshape(n_points), marginals.reshape(n_points)))
    largest = np.empty(n_points, np.float32)
    rests = np.empty(n_points, np.float32)
    sums = np.empty(n_points, np.float32)
    for p in range(n_points):
        most = np.float32(0.0)
        for c in range(n_channels):
            most = max(most, z[p, c])
        largest[p] = most
        rests[p] = -most
        for c in range(n_channels):
            marginals[p, c] = z[p, c] - most
    _exponentials(marginals.reshape(n_points * n_channels))
    _exponentials(rests)
    entropy = np.float32(0.0)
    for p in range(n_points):
        total = rests[p]
        for c in range(n_channels):
            total += marginals[p, c]
        sums[p] = total
        inverse = np.float32(1.0) / total
        # Relative to the largest z, so that the huge ones of a stroke cancel before they are summed.
        entropy -= largest[p] * rests[p] * inverse
        for c in range(n_channels):
            marginals[p, c] *= inverse
            entropy += marginals[p, c] * (z[p, c] - largest[p])
    for p in range(n_points):
        entropy -= logf(sums[p])
    return np.float64(entropy)


@kernel()
def _add_received(lattice_weight, self_share, marginals, received, messages):
    """Write ``messages + w (received - k~_ii Q_i)``, the sum over j != i, over what was received."""
    n_points, n_channels = messages.shape
    if n_channels == 1:
        _add_received_flat(
            lattice_weight,
            self_share,
            marginals.reshape(n_points),
            received.reshape(n_points),
            messages.reshape(n_points),
        )
        return
    for p in range(n_points):
        for c in range(n_channels):
            received[p, c] = messages[p, c] + lattice_weight * (received[p, c] - self_share[p] * marginals[p, c])


@kernel()
def _add_received_flat(lattice_weight, self_share, marginals, received, messages):
    for p in range(messages.size):
        received[p] = messages[p] + lattice_weight * (received[p] - self_share[p] * marginals[p])


@kernel()
def _damp(damping, old, z):
    """Mix the natural parameters, flat: z = damping * old + (1 - damping) * z, and keep them."""
    for k in range(z.size):
        mixed = damping * old[k] + (np.float32(1.0) - damping) * z[k]
        old[k] = mixed
        z[k] = mixed


@kernel()
def _add(target, source):
    for k in range(target.size):
        target[k] += source[k]


@kernel()
def _update_block(compatibility, damping, unary, total, messages, marginals, natural, z, energies):
    """Do the update of one block from all its messages, and add to its energies; ``z`` is room to work."""
    size = messages.size
    energies[PAIRWISE] += _pairwise(compatibility, messages, total, marginals, z)
    _add(z.reshape(size), unary.reshape(size))
    if damping > 0:
        _damp(damping, natural.reshape(size), z.reshape(size))
    energies[ENTROPY] += _softmax(z, marginals)
    energies[UNARY] += _unary_energy(unary.reshape(size), marginals.reshape(size))


@kernel()
def _update_points(compatibility, damping, points, unary, total, messages, marginals, natural, energies):
    """Update a block of points from the messages alone."""
    first, last = points
    energies[:] = 0.0
    _update_block(
        compatibility,
        damping,
        unary[first:last],
        total[first:last],
        messages[first:last],
        marginals[first:last],
        natural[first:last],
        np.empty((last - first, marginals.shape[1]), np.float32),
        energies,
    )


@parallel_kernel()
def _update_without_lattice(compatibility, damping, unary, total, messages, marginals, natural, energies):
    """Update all points from the messages alone; see `_update`."""
    for block in nb.prange(len(energies)):
        points = tile_range(block, BLOCK, len(marginals))
        _update_points(compatibility, damping, points, unary, total, messages, marginals, natural, energies[block])


@kernel()
def _update_tile(
    corners,
    vertices,
    weights,
    points,
    slot_vertices,
    vertex_values,
    self_share,
    lattice_weight,
    compatibility,
    damping,
    unary,
    total,
    messages,
    marginals,
    natural,
    slots,
    energies,
):
    """Do one update of one tile: slice, add messages, unary, softmax and splat, block by block."""
    n_channels = marginals.shape[1]
    blurred = np.empty(slots.shape, np.float32)
    read_slots(slot_vertices, vertex_values, blurred)
    slots[:] = np.float32(0.0)
    received = np.empty((BLOCK, n_channels), np.float32)
    room = np.empty((BLOCK, n_channels), np.float32)
    energies[:] = 0.0
    for first in range(points[0], points[1], BLOCK):
        last = min(first + BLOCK, points[1])
        q = marginals[first:last]
        message = received[: last - first]
        slice_points(corners, vertices[first:last], weights[first:last], blurred, message)
        _add_received(lattice_weight, self_share[first:last], q, message, messages[first:last])
        _update_block(
            compatibility,
            damping,
            unary[first:last],
            total[first:last],
            message,
            q,
            natural[first:last],
            room[: last - first],
            energies,
        )
        splat_points(corners, vertices[first:last], weights[first:last], q, slots)


@parallel_kernel()
def _update(
    corners,
    vertices,
    weights,
    tile_points,
    tile_slots,
    slot_vertices,
    vertex_values,
    self_share,
    lattice_weight,
    compatibility,
    damping,
    unary,
    total,
    messages,
    marginals,
    natural,
    slots,
    energies,
):
    """Do one update in one pass: slice, add messages, unary, softmax, splat for the next iteration.

    Parameters
    ----------
    corners, vertices, weights, tile_points, tile_slots, slot_vertices
        Of the lattice, normalised.
    vertex_values : (n_vertices + 1, n_channels) float32
        The marginals, splatted and blurred.
    self_share : (n_points,) float32
        ``k~(i, i)`` of the lattice.
    lattice_weight : float32
    compatibility : (coupling, offsets, last_costs, potts)
    damping : float32
    unary : (n_points, n_channels) float32
    total : (n_points,) float32
        K.
    messages : (n_points, n_channels) float32
        What the other kernels sent, weighted.
    marginals : (n_points, n_channels) float32, in and out
    natural : like marginals, in and out
        log Q_l - log Q_L, read where there is damping.
    slots : (n_slots, n_channels) float32, out
        The new marginals, splatted.
    energies : (n_tiles, 3) float64, out
        Unary energy and entropy of the new marginals, pairwise energy of the old.
    """
    for tile in nb.prange(len(energies)):
        first, last = tile_slots[tile], tile_slots[tile + 1]
        _update_tile(
            corners,
            vertices,
            weights,
            tile_range(tile, tile_points, len(vertices)),
            slot_vertices[first:last],
            vertex_values,
            self_share,
            lattice_weight,
            compatibility,
            damping,
            unary,
            total,
            messages,
            marginals,
            natural,
            slots[first:last],
            energies[tile],
        )


@kernel()
def _measure_points(compatibility, points, total, messages, marginals):
    first, last = points
    room = np.empty((last - first, marginals.shape[1]), np.float32)
    return _pairwise(compatibility, messages[first:last], total[first:last], marginals[first:last], room)


@parallel_kernel()
def _measure(compatibility, total, messages, marginals, energies):
    """Write the pairwise energy of each block of points."""
    for block in nb.prange(len(energies)):
        points = tile_range(block, BLOCK, len(marginals))
        energies[block] = _measure_points(compatibility, points, total, messages, marginals)


@kernel()
def _argmax_block(marginals, labels):
    n_points, n_channels = marginals.shape
    for p in range(n_points):
        rest = np.float32(1.0)
        most = np.float32(-1.0)
        label = 0
        for c in range(n_channels):
            rest -= marginals[p, c]
            if marginals[p, c] > most:
                most = marginals[p, c]
                label = c
        labels[p] = n_channels if rest > most else label


@parallel_kernel()
def _argmax(marginals, labels):
    for block in nb.prange(-(-len(labels) // BLOCK)):
        first, last = tile_range(block, BLOCK, len(labels))
        _argmax_block(marginals[first:last], labels[first:last])


@one_at_a_time
def most_probable(marginals: NDArray[np.float32]) -> NDArray[np.unsignedinteger]:
    """Return the most probable label of each point, the first of equals.

    Parameters
    ----------
    marginals : (n_points, n_labels - 1) float32
        The last label has the rest.

    Returns
    -------
    (n_points,) uint8, or uint16 past 256 labels
    """
    dtype = np.uint8 if marginals.shape[1] < 256 else np.uint16
    labels: NDArray[np.unsignedinteger] = np.empty(len(marginals), dtype)
    _argmax(marginals, labels)
    return labels


def compatibility_arrays(
    params: CRFParams, n_labels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], bool]:
    """Return C, a, mu(L, .) of the module and whether they are Potts.

    Raises
    ------
    ValueError
        Where the compatibility matrix is not (n_labels, n_labels).
    """
    if params.compatibility is None:
        mu = 1.0 - np.eye(n_labels)
    else:
        mu = np.array(params.compatibility)
        if mu.shape != (n_labels, n_labels):
            raise ValueError(
                f"compatibility has shape {mu.shape}: expected ({n_labels}, {n_labels}), as there are {n_labels} labels"
            )
    to_last = mu[-1, -1] - mu[:-1, -1]
    coupling = mu[-1, :-1] - mu[:-1, :-1] - to_last[:, None]
    return (
        coupling.astype(np.float32),
        to_last.astype(np.float32),
        mu[-1].astype(np.float32),
        params.compatibility is None,
    )


class MeanField:
    """The iterations on one problem.

    Parameters
    ----------
    unary : Unary
    terms : sequence of (weight, PairwiseTerm)
    params : CRFParams
        For compatibility and damping.
    """

    def __init__(self, unary: Unary, terms: Sequence[tuple[float, PairwiseTerm]], params: CRFParams) -> None:
        n_points, n_channels = unary.differences.shape
        self.unary = unary
        self.compatibility = compatibility_arrays(params, unary.n_labels)
        self.damping = np.float32(params.damping)
        # One lattice is sliced and splatted inside the update; the other kernels leave their messages before it.
        lattices = [(weight, term) for weight, term in terms if isinstance(term, LatticeGaussian)]
        self.fused = lattices[0] if lattices else None
        self.others = [pair for pair in terms if not (lattices and pair[1] is lattices[0][1])]
        self.total = np.zeros(n_points, np.float32)
        for weight, term in terms:
            self.total += np.float32(weight) * term.total()
        self.messages = np.zeros((n_points, n_channels), np.float32)
        self.marginals = np.zeros((n_points, n_channels), np.float32)
        self.natural = unary.differences.copy() if params.damping else np.empty((n_points, 0), np.float32)
        self.slots = NO_SLOTS

    def start(self) -> tuple[float, float]:
        """Set Q to softmax(-psi), and return its unary energy and entropy."""
        with one_at_a_time:
            energies = self._update_from_messages(np.zeros_like(self.total), np.float32(0))
            if self.fused:
                self.slots = self.fused[1].lattice.splat(self.marginals)
        return float(energies[UNARY]), float(energies[ENTROPY])

    def update(self) -> tuple[float, float, float]:
        """Update Q; return the unary energy of the new, the pairwise energy of the old, the entropy of the new."""
        self._receive_from_others()
        with one_at_a_time:
            if self.fused is None:
                energies = self._update_from_messages(self.total, self.damping)
            else:
                energies = self._update_on_lattice(*self.fused)
        return float(energies[UNARY]), float(energies[PAIRWISE]), float(energies[ENTROPY])

    def pairwise_energy(self) -> float:
        """Return the pairwise energy of the present Q."""
        self._receive_from_others()
        energies = np.empty(-(-len(self.marginals) // BLOCK))
        if self.fused:
            weight, term = self.fused
            term.add_splatted(self.slots, self.marginals, weight, self.messages, accumulate=True)
        with one_at_a_time:
            _measure(self.compatibility, self.total, self.messages, self.marginals, energies)
        return float(energies.sum())

    def _receive_from_others(self) -> None:
        """Set the messages to what all kernels but the fused lattice send."""
        if not self.others:
            self.messages[:] = 0.0
        for k, (weight, term) in enumerate(self.others):
            term.add_messages(self.marginals, weight, self.messages, accumulate=k > 0)

    def _update_from_messages(self, total: NDArray[np.float32], damping: np.float32) -> NDArray[np.float64]:
        energies = np.empty((-(-len(self.marginals) // BLOCK), 3))
        _update_without_lattice(
            self.compatibility,
            damping,
            self.unary.differences,
            total,
            self.messages,
            self.marginals,
            self.natural,
            energies,
        )
        summed: NDArray[np.float64] = energies.sum(axis=0)
        return summed

    def _update_on_lattice(self, weight: float, term: LatticeGaussian) -> NDArray[np.float64]:
        lattice = term.lattice
        energies = np.empty((len(lattice.tile_slots) - 1, 3))
        _update(
            lattice.corners,
            lattice.vertices,
            lattice.weights,
            lattice.tile_points,
            lattice.tile_slots,
            lattice.slot_vertices,
            lattice.gather_and_blur(self.slots),
            term.self_share,
            np.float32(weight),
            self.compatibility,
            self.damping,
            self.unary.differences,
            self.total,
            self.messages,
            self.marginals,
            self.natural,
            self.slots,
            energies,
        )
        summed: NDArray[np.float64] = energies.sum(axis=0)
        return summed


def iterate(unary: Unary, terms: Sequence[tuple[float, PairwiseTerm]], params: CRFParams) -> Iterator[MeanFieldState]:
    """Yield the state after the start and after each update.

    Parameters
    ----------
    unary : Unary
    terms : sequence of (weight, PairwiseTerm)
    params : CRFParams
        For compatibility, damping and the number of iterations.

    Notes
    -----
    The free energy is ``F(Q) = sum Q psi + 1/2 sum Q mu (sum_m w_m sum_{j != i} k~_m Q_j) + sum Q log Q``; its
    pairwise part is known one update late, when the messages of Q have been sent.
    """
    solver = MeanField(unary, terms, params)
    trace = np.full(params.n_iterations + 1, np.nan)
    data, entropy = solver.start()
    for iteration in range(params.n_iterations):
        yield MeanFieldState(iteration, solver.marginals, trace)
        old = unary.last_energy + data + entropy
        data, pairwise, entropy = solver.update()
        trace[iteration] = old + pairwise
    trace[params.n_iterations] = unary.last_energy + data + solver.pairwise_energy() + entropy
    yield MeanFieldState(params.n_iterations, solver.marginals, trace)
