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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.blank import label_type, no_label
from napari_densecrf.crf.lattice.filtering import Runs, part_of_run
from napari_densecrf.crf.lattice.lattice import MAX_POINTS_A_RUN, Lattice
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined
from napari_densecrf.crf.numba.memory import whole_empty
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.simd import lanes_of
from napari_densecrf.params import CRFParams

from .grid_gaussian import GridGaussian, no_kernel_on_grid
from .marginals import CHANGE, MEASURE, PAIRWISE, START, UPDATE, Compatibility, Pixels, update_part
from .pairwise import LatticeGaussian, PairwiseTerm
from .unary import Unary
from .update import BLOCK, NOT_COMPILED, OnLattice, Pass, sample_of_hearing, update_runs

_NO_MESSAGES = np.empty((0, 1), np.float32)


@dataclass(frozen=True)
class MeanFieldState:
    """Where an iteration stands.

    Parameters
    ----------
    iteration : int
        Updates done.
    marginals : (n_points, n_channels) float32
        Of all labels but the last; channels past those are 0. The iteration after the next writes into the same array.
    free_energy : (n_iterations + 1,) float64
        F(Q) from the start on; NaN where it is not known yet. What Q sends is known one update late.
    largest_change : (n_iterations,) float32
        The most that any probability but the last label's has changed in each update; NaN for those to come.
    beginning : Beginning
        Where the iterations began.
    """

    iteration: int
    marginals: NDArray[np.float32]
    free_energy: NDArray[np.float64]
    largest_change: NDArray[np.float32]
    beginning: Beginning
    _last_energy: Callable[[], float] | None = None

    def whole_free_energy(self) -> NDArray[np.float64]:
        """Return the free energies with the last, which takes as long as another update. Of the last state only."""
        assert self._last_energy is not None
        energies = self.free_energy.copy()
        energies[-1] = self._last_energy()
        return energies


@dataclass(frozen=True, eq=False)
class Beginning:
    """What no weight and no number of iterations changes, for the next refinement of the same map.

    Parameters
    ----------
    unary : Unary
    lattice : Lattice or _NoLattice
        That works inside the update.
    marginals : (n_points, n_channels) float32
        softmax(-psi). Nobody writes there any more.
    vertex_values : float32
        These marginals, splatted and blurred.
    """

    unary: Unary
    lattice: Lattice | _NoLattice
    marginals: NDArray[np.float32]
    vertex_values: NDArray[np.float32]

    def is_of(self, unary: Unary, lattice: Lattice | _NoLattice) -> bool:
        """Tell whether this is where these begin."""
        return self.unary is unary and self.lattice is lattice


@inlined()
def _argmax_block(marginals, last_label, labels):
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
        labels[p] = last_label if rest > most else label


@parallel_kernel()
def _argmax(given, block):
    marginals, last_label, labels = arguments_of(given)
    first, last = part_of_run(block, BLOCK, len(labels))
    _argmax_block(marginals[first:last], last_label, labels[first:last])


def most_probable(
    marginals: NDArray[np.float32], n_labels: int, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.unsignedinteger]:
    """Return the most probable label of each point, the first of equals.

    Parameters
    ----------
    marginals : (n_points, n_channels) float32
        Of all labels but the last, which has the rest; channels past those are 0.
    n_labels : int
    valid : (n_points,) bool, optional
        Points that have a label; None = all.

    Returns
    -------
    (n_points,) uint8, or uint16 past 255 labels
        `no_label` of the type for a point without one.
    """
    labels = np.empty(len(marginals), label_type(n_labels))
    _argmax(-(-len(labels) // BLOCK), marginals, n_labels - 1, labels)
    if valid is not None:
        labels[~valid] = no_label(labels.dtype)
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


def _compatibility(params: CRFParams, n_labels: int, n_channels: int) -> Compatibility:
    """Return the compatibility as `update_runs` takes it, with zeros for channels that are no labels."""
    coupling, offsets, last_costs, potts = compatibility_arrays(params, n_labels)
    more = n_channels - (n_labels - 1)
    return Compatibility(
        np.ascontiguousarray(np.pad(coupling.T, (0, more))),
        np.pad(offsets, (0, more)),
        np.pad(last_costs[:-1], (0, more)),
        last_costs[-1],
        potts,
    )


class _NoLattice:
    """Stands where no kernel needs a lattice: its runs have no slots, and its points no simplices.

    It has the corners that a lattice would have, as code is compiled for their number.
    """

    def __init__(self, n_points: int, n_dims: int) -> None:
        self.corners = tuple(range(n_dims + 1))
        self.runs = Runs(
            vertices=np.empty((0, n_dims + 1), np.uint16),
            weights=np.empty((0, n_dims + 1), np.float32),
            points_a_run=MAX_POINTS_A_RUN,
            run_slots=np.zeros(-(-n_points // MAX_POINTS_A_RUN) + 1, np.int64),
            slot_vertices=np.empty(0, np.uint32),
        )

    def empty_slots(self, n_channels: int) -> NDArray[np.float32]:
        return np.empty((0, n_channels), np.float32)

    def empty_values(self, n_channels: int) -> NDArray[np.float32]:
        return np.empty((2, 0, n_channels), np.float32)

    def gather_and_blur(self, slots: NDArray[np.float32], both: NDArray[np.float32]) -> NDArray[np.float32]:
        return slots


class MeanField:
    """The iterations on one problem.

    Parameters
    ----------
    unary : Unary
    terms : sequence of (weight, PairwiseTerm)
    params : CRFParams
        For compatibility and damping.
    n_dims : int
        Of features: axes and channels.

    Notes
    -----
    One lattice and one kernel on the grid work inside the update; further ones leave their messages before it.
    """

    def __init__(
        self, unary: Unary, terms: Sequence[tuple[float, PairwiseTerm]], params: CRFParams, n_dims: int
    ) -> None:
        n_points, n_channels = unary.differences.shape
        self.unary = unary
        self.compatibility = _compatibility(params, unary.n_labels, n_channels)
        self.damping = np.float32(params.damping)
        on_lattice = next(((weight, term) for weight, term in terms if isinstance(term, LatticeGaussian)), None)
        on_grid = next(((weight, term) for weight, term in terms if isinstance(term, GridGaussian)), None)
        inside = {id(pair[1]) for pair in (on_lattice, on_grid) if pair}
        self.others = [pair for pair in terms if id(pair[1]) not in inside]
        self._set_lattice(on_lattice, n_points, n_dims)
        self._set_grid(on_grid, n_channels)
        self.messages = whole_empty((n_points, n_channels), np.float32) if self.others else _NO_MESSAGES
        self.marginals = self.spare = whole_empty((n_points, n_channels), np.float32)
        self._beginning: Beginning | None = None
        self.kept = np.zeros((n_points, n_channels), np.float32) if params.damping else _NO_MESSAGES
        self.slots = self.lattice.empty_slots(n_channels)
        self.vertex_values = self.lattice.empty_values(n_channels)

    def _set_lattice(self, pair: tuple[float, LatticeGaussian] | None, n_points: int, n_dims: int) -> None:
        self.lattice: Lattice | _NoLattice
        if pair is None:
            weight, self.lattice = 0.0, _NoLattice(n_points, n_dims)
            self.diagonal = self.total = np.zeros(n_points, np.float32)
        else:
            weight, term = pair
            self.lattice, self.diagonal, self.total = term.lattice, term.diagonal, term.total()
        self.lattice_weight = self.total_weight = weight
        if self.others:
            self.total, self.total_weight = np.float32(self.total_weight) * self.total, 1.0
            for other_weight, other in self.others:
                self.total += np.float32(other_weight) * other.total()

    def _set_grid(self, pair: tuple[float, GridGaussian] | None, n_channels: int) -> None:
        self.grid: GridGaussian | None = None
        if pair is None:
            self.on_grid = no_kernel_on_grid(BLOCK)
        else:
            weight, self.grid = pair
            self.on_grid = self.grid.on_grid(weight, n_channels)

    def start(self, beginning: Beginning | None = None) -> Beginning:
        """Set Q to softmax(-psi), whose unary energy and entropy are equal; return what it began with.

        Nothing is done where ``beginning`` is of the same energies and the same lattice.
        """
        if beginning is None or not beginning.is_of(self.unary, self.lattice):
            self._pass(START, self.spare, self.marginals)
            values = self.lattice.gather_and_blur(self.slots, self.vertex_values).copy()
            beginning = Beginning(self.unary, self.lattice, self.marginals, values)
            self.spare = whole_empty(self.marginals.shape, np.float32)
        self._beginning, self.marginals = beginning, beginning.marginals
        return beginning

    def update(self) -> tuple[float, float, float]:
        """Update Q, and report on it.

        Returns
        -------
        pairwise : float
            Pairwise energy of the old Q.
        other : float
            Unary energy of the new Q, less its entropy.
        change : float
            The most that any probability but the last label's has changed.
        """
        report = self._pass(UPDATE, self.marginals, self.spare)
        old, self.marginals = self.marginals, self.spare
        at_beginning = self._beginning is not None and old is self._beginning.marginals
        self.spare = whole_empty(old.shape, np.float32) if at_beginning else old
        pairwise, other, _ = report.sum(axis=0)
        return float(pairwise), float(other) + self.unary.last_energy, float(report[:, CHANGE].max())

    def forget_spare(self) -> None:
        """Give back what only another update would need."""
        self.spare = self.marginals

    def pairwise_energy(self) -> float:
        """Return the pairwise energy of the present Q."""
        return float(self._pass(MEASURE, self.marginals, self.marginals)[:, PAIRWISE].sum())

    def _receive_from_others(self) -> None:
        """Set the messages to what all kernels send that do not work inside the update."""
        self.messages[:] = 0.0
        for weight, term in self.others:
            term.add_messages(self.marginals, weight, self.messages)

    def _pass(self, task: int, old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float64]:
        """Do one pass over all pixels, and return its report; see `update_runs`."""
        vertex_values, old_along_z = self.vertex_values[0], old
        if task != START:
            if self.others:
                self._receive_from_others()
            if self._beginning is not None and old is self._beginning.marginals:
                vertex_values = self._beginning.vertex_values
            else:
                vertex_values = self.lattice.gather_and_blur(self.slots, self.vertex_values)
            if self.grid:
                old_along_z = self.grid.along_z(old.reshape(self.grid.shape[0] * self.grid.shape[1], -1))
        pixels = Pixels(
            n_channels=old.shape[1],
            unary=self.unary.differences.ravel(),
            old=old.ravel(),
            old_along_z=old_along_z,
            new=new.ravel(),
            total=self.total,
            total_weight=np.float32(self.total_weight),
            messages=self.messages.ravel(),
            damping=self.damping,
            kept=self.kept.ravel(),
        )
        on_lattice = OnLattice(
            weight=np.float32(self.lattice_weight),
            diagonal=self.diagonal,
            vertex_values=vertex_values.ravel(),
            slots=self.slots.ravel(),
        )
        runs = self.lattice.runs
        report = np.empty((len(runs.run_slots) - 1, 3))
        update_part_of_these = update_part(pixels.n_channels)
        while True:
            known = update_part_of_these.known
            common = (runs, on_lattice, self.on_grid, self.compatibility, pixels, known, task)
            update = Pass(lanes_of(pixels.n_channels), self.lattice.corners, *common)
            update_runs(len(report), update, report)
            if report[0, CHANGE] != NOT_COMPILED:
                return report
            update_part_of_these.compile_for(nb.typeof(sample_of_hearing(update)))


def iterate(
    unary: Unary,
    terms: Sequence[tuple[float, PairwiseTerm]],
    params: CRFParams,
    n_dims: int,
    beginning: Beginning | None = None,
) -> Iterator[MeanFieldState]:
    """Yield the state after the start and after each update.

    Parameters
    ----------
    unary : Unary
    terms : sequence of (weight, PairwiseTerm)
    params : CRFParams
        For compatibility, damping and the number of iterations.
    n_dims : int
        Of features: axes and channels.
    beginning : Beginning, optional
        Of the states of another call.

    Notes
    -----
    The free energy is ``F(Q) = sum Q psi + 1/2 sum Q mu (sum_m w_m sum_{j != i} k~_m Q_j) + sum Q log Q``; its
    pairwise part is known one update late, when the messages of Q have been sent.
    """
    solver = MeanField(unary, terms, params, n_dims)
    trace = np.full(params.n_iterations + 1, np.nan)
    changes = np.full(params.n_iterations, np.nan, np.float32)
    beginning = solver.start(beginning)
    others = 0.0
    for iteration in range(params.n_iterations):
        yield MeanFieldState(iteration, solver.marginals, trace, changes, beginning)
        pairwise, of_new, changes[iteration] = solver.update()
        trace[iteration] = pairwise + others
        others = of_new
    solver.forget_spare()
    yield MeanFieldState(
        params.n_iterations, solver.marginals, trace, changes, beginning, lambda: solver.pairwise_energy() + others
    )
