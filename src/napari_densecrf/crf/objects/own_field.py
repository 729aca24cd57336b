r"""The mean field over pairs of pixels and candidate objects (Numba), reading like the model.

    Q_i(l) ∝ p_i(l) exp(b_l + sum_m w_m sum_{j != i} k~_m(i, j) Q_j(l))      over the candidates l of pixel i.

With Potts costs only a label's own message matters. Objects send within their own vertices and lines; the background
sends on the lattice and the grid of the whole image. Pixels with one candidate send, and receive nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.grid_gaussian import GridGaussian, MaskedGridGaussian
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import kernel, serial_kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.pairwise import LatticeGaussian, PairwiseTerm

from .distances import MOST_CHUNKS
from .own_lines import OwnLines, Taps, own_lines, send_on_lines
from .own_update import BLOCK, CHANGE, update_marginals
from .own_vertices import OwnVertices, own_vertices, send_on_lattice
from .pairs import Pairs
from .source import chunks

# Beginnings of more bytes are not kept.
MOST_BYTES = 2**25


@serial_kernel()
def _start(starts, pixels, log_p, certain, background, q, background_q):
    """Set the marginals of the pixels that are certain: 1 for what they are."""
    background_q[:] = np.float32(1.0)
    for k in range(starts.size - 1):
        for n in range(starts[k], starts[k + 1]):
            q[n] = np.float32(1.0) if log_p[n] > -np.inf else np.float32(0.0)
    for pixel in range(background.size):
        if background[pixel] == -np.inf:
            background_q[pixel] = np.float32(0.0)


@serial_kernel()
def _only_candidates(starts, pixels, is_open, q, labels):
    """Write the label of the pixels that have one candidate, an object."""
    for k in range(starts.size - 1):
        for n in range(starts[k], starts[k + 1]):
            if q[n] == np.float32(1.0) and not is_open[pixels[n]]:
                labels[pixels[n]] = k + 1


@kernel()
def best_of(starts, open_starts, open_pairs, n, q, background_q):
    """Return the most probable label of an open pixel, and its probability; the first of equals."""
    most, pair_of_most = background_q, np.int64(-1)
    for e in range(open_starts[n], open_starts[n + 1]):
        pair = np.int64(open_pairs[e])
        if q[pair] > most:
            most, pair_of_most = q[pair], pair
    return (np.searchsorted(starts, pair_of_most, side="right") if pair_of_most >= 0 else np.int64(0)), most


@parallel_kernel()
def _winners(given, block):
    """Write the most probable label of each open pixel, and its probability."""
    starts, open_pixels, open_starts, open_pairs, q, background_q, labels, best = arguments_of(given)
    for n in range(block * BLOCK, min((block + 1) * BLOCK, open_pixels.size)):
        pixel = open_pixels[n]
        labels[pixel], best[pixel] = best_of(starts, open_starts, open_pairs, n, q, background_q[pixel])


def _taps(term: GridGaussian | MaskedGridGaussian) -> Taps:
    if isinstance(term, GridGaussian):
        (z, y, x), (root_z, root_y, root_x) = term.taps, term.inverse_roots
        return Taps(z, y, x, root_z, root_y, root_x, np.empty(0, np.float32))
    (z, y, x), (root_z, root_y, root_x) = term.plain.taps, term.plain.inverse_roots
    return Taps(z, y, x, root_z, root_y, root_x, term.roots.ravel())


@dataclass(frozen=True, eq=False)
class Routes:
    """How the pairs send: each kernel's share for objects. It outlives changes of weights, not of pairs or sigmas.

    Parameters
    ----------
    split : (n_chunks + 1,) int64
        The objects of each chunk of work.
    on_lattices : dict of LatticeGaussian to OwnVertices
    on_grids : OwnLines
    """

    split: NDArray[np.int64]
    on_lattices: dict[LatticeGaussian, OwnVertices]
    on_grids: OwnLines | None


def routes(
    pairs: Pairs, terms: Sequence[PairwiseTerm], shape: tuple[int, int, int], old: Routes | None = None
) -> Routes:
    """Return the routes of these terms; what ``old`` ones of the same pairs have is taken from there."""
    split = chunks(np.diff(pairs.starts), MOST_CHUNKS) if old is None else old.split
    known = {} if old is None else old.on_lattices
    on_lattices = {
        term: known[term] if term in known else own_vertices(term.lattice, pairs)
        for term in terms
        if isinstance(term, LatticeGaussian)
    }
    on_grids = None if old is None else old.on_grids
    if on_grids is None and any(isinstance(term, (GridGaussian, MaskedGridGaussian)) for term in terms):
        on_grids = own_lines(pairs, shape)
    return Routes(split, on_lattices, on_grids)


@dataclass(frozen=True, eq=False)
class Beginning:
    """What no weight changes, for the next refinement of the same pairs: the first marginals, and what they send.

    Parameters
    ----------
    pairs : Pairs
    bias : float32
    q : (n_pairs,) float32
    background : (n_points, 1) float32
    energy : float
        Of these marginals, less their entropy.
    sent : dict of PairwiseTerm to ((n_pairs,) float32, (n_points, 1) float32)
        What pairs and background receive by each kernel, with a weight of 1.
    """

    pairs: Pairs
    bias: np.float32
    q: NDArray[np.float32]
    background: NDArray[np.float32]
    energy: float
    sent: dict[PairwiseTerm, tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Marginals:
    """Where the iterations stand.

    Parameters
    ----------
    iteration : int
        Updates done.
    q : (n_pairs,) float32
    background : (n_points,) float32
        The next iteration writes into the same arrays.
    free_energy : (n_iterations,) float64
        Before each update, of the open pixels; NaN where it is not known yet. What Q sends is known one update late,
        so that of the last would cost one more.
    largest_change : (n_iterations,) float32
    """

    iteration: int
    q: NDArray[np.float32]
    background: NDArray[np.float32]
    free_energy: NDArray[np.float64]
    largest_change: NDArray[np.float32]


class OwnField:
    """The iterations on one problem.

    Parameters
    ----------
    pairs : Pairs
    terms : sequence of (weight, PairwiseTerm)
    ways : Routes
        Of these pairs and terms.
    shape : tuple of int
        (depth, height, width) of the image.
    bias : float
        Log-odds that favour objects against the background.
    damping : float

    Attributes
    ----------
    beginning : Beginning, optional
        Where this began, once it has; None where it would take much memory.
    """

    def __init__(
        self,
        pairs: Pairs,
        terms: Sequence[tuple[float, PairwiseTerm]],
        ways: Routes,
        shape: tuple[int, int, int],
        *,
        bias: float = 0.0,
        damping: float = 0.0,
    ) -> None:
        self.pairs, self.terms, self.ways, self.shape = pairs, terms, ways, shape
        self.bias, self.damping = np.float32(bias), np.float32(damping)
        self.q = np.empty(pairs.pixels.size, np.float32)
        self.background = np.empty((pairs.background.size, 1), np.float32)
        self.received = np.zeros(pairs.pixels.size, np.float32)
        self.background_received = np.zeros((pairs.background.size, 1), np.float32)
        self.beginning: Beginning | None = None

    def start(self, beginning: Beginning | None = None) -> float:
        """Set Q from p alone; return its energy less its entropy.

        Nothing is computed where ``beginning`` is of the same pairs and the same bias.
        """
        pairs = self.pairs
        if beginning is not None and beginning.pairs is pairs and beginning.bias == self.bias:
            self.q[:], self.background[:] = beginning.q, beginning.background
            known = {term: beginning.sent[term] for _, term in self.terms if term in beginning.sent}
            self.beginning = replace(beginning, sent=known)
            return beginning.energy
        _start(*pairs[:3], pairs.certain, pairs.background, self.q, self.background.ravel())
        energy = self._update()[1]
        if (1 + len(self.terms)) * (self.q.nbytes + self.background.nbytes) <= MOST_BYTES:
            self.beginning = Beginning(pairs, self.bias, self.q.copy(), self.background.copy(), energy, {})
        return energy

    def update(self, *, is_first: bool = False) -> tuple[float, float, float]:
        """Send, and update Q; return the energies and the change, see `_update`. The first follows `start`."""
        self.send(self.beginning if is_first else None)
        return self._update()

    def send(self, beginning: Beginning | None = None) -> None:
        """Set what every pair and the background receive from Q; where that is of a beginning, it is kept there."""
        kept = (self.received.copy(), self.background_received.copy()) if self.damping else None
        self.received[:] = 0.0
        self.background_received[:] = 0.0
        for weight, term in self.terms:
            if beginning is None:
                self._add_sent(term, weight, self.received, self.background_received)
                continue
            if term not in beginning.sent:
                sent = np.zeros_like(self.received), np.zeros_like(self.background_received)
                self._add_sent(term, 1.0, *sent)
                beginning.sent[term] = sent
            for now, by_one in zip((self.received, self.background_received), beginning.sent[term], strict=True):
                now += np.float32(weight) * by_one
        if kept is not None:
            for now, before in zip((self.received, self.background_received), kept, strict=True):
                now *= 1 - self.damping
                now += self.damping * before

    def _add_sent(
        self,
        term: PairwiseTerm,
        weight: float,
        received: NDArray[np.float32],
        background_received: NDArray[np.float32],
    ) -> None:
        """Add what Q sends by one kernel: the background on the whole image, objects within themselves."""
        pairs, n_chunks = self.pairs, self.ways.split.size - 1
        to = (pairs.starts, pairs.pixels, self.ways.split)
        term.add_messages(self.background, weight, background_received)
        if isinstance(term, LatticeGaussian):
            lattice = term.lattice
            blur = (lattice.blur.n_passes, np.float32(lattice.blur.side))
            own = self.ways.on_lattices[term]
            of_pixels = (lattice.corners, lattice.runs.weights, term.diagonal)
            send_on_lattice(n_chunks, *of_pixels, own, *to, blur, np.float32(weight), self.q, received)
        elif isinstance(term, (GridGaussian, MaskedGridGaussian)) and self.ways.on_grids is not None:
            lines = (_taps(term), self.ways.on_grids, *self.shape[1:])
            send_on_lines(n_chunks, *lines, *to, np.float32(weight), self.q, received)

    def _update(self) -> tuple[float, float, float]:
        """Return the pairwise energy of the old Q, the rest of the energy of the new, and the largest change."""
        n_blocks = -(-self.pairs.open_pixels.size // BLOCK)
        reports = np.zeros((n_blocks, 3))
        update_marginals(
            n_blocks,
            self.pairs,
            self.received,
            self.background_received.ravel(),
            self.bias,
            self.q,
            self.background.ravel(),
            reports,
        )
        pairwise, other, _ = reports.sum(axis=0)
        return float(pairwise), float(other), float(reports[:, CHANGE].max(initial=0.0))

    def winners(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the most probable label of each pixel, 0 = background, and its probability."""
        pairs = self.pairs
        best = np.ones(pairs.background.size, np.float32)
        labels = np.zeros(pairs.background.size, np.int32)
        open_pixels = (pairs.open_pixels, pairs.open_starts, pairs.open_pairs)
        _only_candidates(pairs.starts, pairs.pixels, pairs.is_open, self.q, labels)
        _winners(
            -(-pairs.open_pixels.size // BLOCK),
            pairs.starts,
            *open_pixels,
            self.q,
            self.background.ravel(),
            labels,
            best,
        )
        return labels, best


def iterate(field: OwnField, n_iterations: int, beginning: Beginning | None = None) -> Iterator[Marginals]:
    """Yield the state after the start and after each update; ``beginning`` is that of another field."""
    trace = np.full(n_iterations, np.nan)
    changes = np.full(n_iterations, np.nan, np.float32)
    others = field.start(beginning)
    for iteration in range(n_iterations):
        yield Marginals(iteration, field.q, field.background.ravel(), trace, changes)
        pairwise, of_new, changes[iteration] = field.update(is_first=iteration == 0)
        trace[iteration] = pairwise + others
        others = of_new
    yield Marginals(n_iterations, field.q, field.background.ravel(), trace, changes)
