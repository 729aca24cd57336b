"""From an image, a map and parameters to refined labels, keeping what a change of parameters leaves valid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.lattice.blur import COARSE, suited_blur
from napari_densecrf.crf.lattice.lattice import Lattice
from napari_densecrf.door.missing import as_array, check_missing, share_words
from napari_densecrf.params import CRFParams, PairwiseKernel

from .grid import Grid, from_image, intensity_sigmas
from .grid_gaussian import GridGaussian, MaskedGridGaussian
from .last_map import LastMap
from .meanfield import MeanFieldState, compatibility_arrays, iterate, most_probable
from .pairwise import LatticeGaussian, PairwiseTerm
from .probe import Probe, take_probe
from .unary import InputWarning, Unary, check_values, favoured, unary_energies
from .windowed_gaussian import WindowedGaussian, pixels_in_window

# The stage in which a lattice is built.
BUILDING = "building the lattice"
# Windows of drafts that hold more pixels take longer than the lattice.
MOST_IN_WINDOW = 450
# What a term is built from: everything of its kernel but the weight.
_Sigmas = tuple[object, object]


@dataclass(frozen=True, eq=False)
class Refinement:
    """The result of a refinement.

    Parameters
    ----------
    params : CRFParams
    spacing : tuple of float
        Size of a pixel along each spatial axis.
    largest_change : (n_iterations,) float32
        0..1: the most that each update has changed any probability but the last label's.
    """

    params: CRFParams
    spacing: tuple[float, ...]
    largest_change: NDArray[np.float32]
    _last: MeanFieldState = field(repr=False)
    _shape: tuple[int, ...] = field(repr=False)
    _n_labels: int = field(repr=False)
    _valid: NDArray[np.bool_] | None = field(repr=False, default=None)  # (n_points,)

    @cached_property
    def free_energy(self) -> NDArray[np.float64]:
        """(n_iterations + 1,) float64: F(Q) before the first update and after each; see docs/model.md.

        The last is measured when this is read for the first time, which takes as long as an update.
        """
        return self._last.whole_free_energy()

    @property
    def _kept(self) -> NDArray[np.float32]:
        """(n_points, n_channels), see MeanFieldState."""
        return self._last.marginals

    @cached_property
    def labels(self) -> NDArray[np.unsignedinteger]:
        """(*spatial) uint8, or uint16 past 255 classes: index of the most probable class, the first of equals.

        The largest number of the type, `no_label`, where a pixel has no value.
        """
        return most_probable(self._kept, self._n_labels, self._valid).reshape(self._shape)

    @cached_property
    def marginals(self) -> NDArray[np.float32]:
        """(n_labels, *spatial) float32, 0..1, sums to 1 over the labels; NaN where a pixel has no value."""
        marginals = np.empty((self._n_labels, len(self._kept)), np.float32)
        marginals[:-1] = self._kept[:, : self._n_labels - 1].T
        marginals[-1] = self._rest()
        if self._valid is not None:
            marginals[:, ~self._valid] = np.nan
        return marginals.reshape(-1, *self._shape)

    @property
    def n_missing(self) -> int:
        """Number of pixels without a value in the image or the map, which take no part."""
        return 0 if self._valid is None else int(self._valid.size - np.count_nonzero(self._valid))

    @cached_property
    def entropy(self) -> NDArray[np.float32]:
        """(*spatial) float32, 0 (certain) to 1 (uniform): ``-sum_l Q log Q / log n_labels``; NaN without a value."""
        marginals = self.marginals
        q_log_q = marginals * np.log(np.maximum(marginals, np.finfo(np.float32).tiny))
        entropy: NDArray[np.float32] = np.clip(-q_log_q.sum(axis=0) / np.float32(np.log(len(marginals))), 0, 1)
        return entropy

    def _rest(self) -> NDArray[np.float32]:
        rest: NDArray[np.float32] = np.float32(1) - self._kept.sum(axis=1, dtype=np.float32)
        return np.maximum(rest, np.float32(0))


@dataclass(frozen=True)
class Step:
    """A point between two pieces of work: progress, and a place to stop.

    Parameters
    ----------
    stage : str
        What comes next, or "done".
    fraction : float
        0..1, of the whole.
    refinement : Refinement, optional
        With the last step only.
    """

    stage: str
    fraction: float
    refinement: Refinement | None = None


class Terms:
    """The kernels on one image, kept until parameters name them no more.

    Parameters
    ----------
    grid : Grid
    intensities : (n_points, n_channels) float32
    probe : Probe, optional
        Of the whole image, where the grid is a part of one. None = from the intensities themselves.
    valid : (n_points,) bool, optional
        The pixels that take part. None = all.
    """

    def __init__(
        self,
        grid: Grid,
        intensities: NDArray[np.float32],
        probe: Probe | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        self.grid, self.intensities = grid, intensities
        self._probe = take_probe(intensities.reshape(*grid.shape, -1), -1) if probe is None else probe
        self._valid = valid
        # For a preview: quick rather than near to the exact solution.
        self.is_draft = False
        self._kept: dict[_Sigmas, PairwiseTerm] = {}

    def has(self, kernel: PairwiseKernel) -> bool:
        """Tell whether the kernel is built; its weight does not count."""
        return _sigmas(kernel) in self._kept

    def build(self, kernel: PairwiseKernel) -> None:
        """Build the kernel.

        Raises
        ------
        ValueError, MemoryError
            Where it fits neither the image nor the memory.
        """
        self._kept[_sigmas(kernel)] = self._build(kernel)

    def __getitem__(self, kernel: PairwiseKernel) -> PairwiseTerm:
        """Return the kernel, which has been built."""
        return self._kept[_sigmas(kernel)]

    @property
    def lattices(self) -> tuple[Lattice, ...]:
        """The lattices that are kept."""
        return tuple(term.lattice for term in self._kept.values() if isinstance(term, LatticeGaussian))

    def sums_windows(self, kernel: PairwiseKernel) -> bool:
        """Tell whether a kernel is summed pixel by pixel in place of on a lattice: in drafts, where few are near."""
        if not self.is_draft or kernel.intensity_sigma is None or len(self.grid.shape) != 2:
            return False
        return pixels_in_window(self.grid.pixel_sigmas(kernel.position_sigma)) <= MOST_IN_WINDOW

    def _build(self, kernel: PairwiseKernel) -> PairwiseTerm:
        sigmas = self.grid.pixel_sigmas(kernel.position_sigma)
        if kernel.intensity_sigma is None:
            if self._valid is None:
                return GridGaussian(self.grid.shape, sigmas)
            return MaskedGridGaussian(self.grid.shape, sigmas, self._valid)
        steps = 1 / sigmas
        channel_steps = 1 / intensity_sigmas(kernel.intensity_sigma, self.intensities.shape[1])
        shape, origin = self.grid.shape, self.grid.origin
        if self.sums_windows(kernel):
            return WindowedGaussian(shape, sigmas, self.intensities * channel_steps.astype(np.float32), self._valid)
        blur = COARSE if self.is_draft else suited_blur(self._probe, steps, channel_steps)
        lattice = Lattice.on_grid(shape, origin, steps, self.intensities, channel_steps, blur, self._valid)
        return LatticeGaussian(lattice)

    def forget_other_pixels(self, valid: NDArray[np.bool_] | None) -> None:
        """Let these pixels take part from now on; keep no kernel that was built for others."""
        before, self._valid = self._valid, valid
        both_whole = before is None and valid is None
        if not both_whole and (before is None or valid is None or not np.array_equal(before, valid)):
            self._kept.clear()

    def forget_others(self, params: CRFParams) -> None:
        """Keep no kernel that these parameters do not name; one switched off stays."""
        named = {_sigmas(kernel) for kernel in params.kernels}
        self._kept = {sigmas: term for sigmas, term in self._kept.items() if sigmas in named}


class Refiner:
    """Refines maps of one image again and again, and builds only what a change of parameters makes invalid.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype. Pixels that are NaN or
        masked have no value and take no part; NaN scattered inside the picture is refused. See the notes.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis; sigmas of position are in its unit. None = pixels.
    channel_axis : int, optional
        Axis of the channels; None = gray.
    origin : sequence of int, optional
        Index of the first pixel within the whole image, where ``image`` is a part of one: parts that share an origin
        lie on one lattice, and agree. None = zeros.
    probe : Probe, optional
        `take_probe` of the whole image, where ``image`` is a part of one: the lattice of each part is as fine as that
        of the whole. None = from ``image`` itself.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.

    Notes
    -----
    A pixel has no value where the image is NaN or masked in any channel, or the map in any class. Such pixels send no
    messages, are not counted in n_i, and get no label: what the others get is as if there were only these. As a
    background has, they must touch the border or make a region of at least 64 connected pixels; fewer NaN than that,
    scattered inside the picture, are refused with their number, as they are more likely a fault. Masked pixels are
    taken as they are meant. Of a part of an image, with ``origin`` or ``probe``, none of this is judged.
    """

    def __init__(
        self,
        image: ArrayLike,
        *,
        spacing: Sequence[float] | float | None = None,
        channel_axis: int | None = None,
        origin: Sequence[int] | None = None,
        probe: Probe | None = None,
    ) -> None:
        array = as_array(image)
        grid, intensities, self._valid = from_image(array, spacing, channel_axis, origin)
        self.grid: Grid = grid
        self._is_part = origin is not None or probe is not None
        if self._valid is not None and not self._is_part:
            check_missing(array, channel_axis, "the image has")
        probe = take_probe(array, channel_axis) if probe is None else probe
        self.terms = Terms(grid, intensities, probe, self._valid)
        self._last: LastMap | None = None

    def refine(self, probabilities: ArrayLike, params: CRFParams, *, strokes: ArrayLike | None = None) -> Refinement:
        """Refine a probability map.

        Parameters
        ----------
        probabilities : array_like
            (n_labels, *spatial), or (*spatial): the foreground of two classes. Floats from 0 to 1, or uint8 or
            uint16, which are divided by the largest number of their type. Numbers that are no probabilities (a mask,
            ids, percent, logits) are refused; but of a part of an image, with ``origin`` or ``probe``, they are taken
            as they are, as a part does not tell what the whole holds. NaN or masked where a pixel has no value.
        params : CRFParams
        strokes : (*spatial) array_like of int, optional
            0 = free, k = this pixel is class k - 1.

        Returns
        -------
        Refinement

        Raises
        ------
        ValueError
            With one sentence that names what came and what is expected.
        MemoryError
            Where the lattice cannot be numbered or would not fit the memory; says the size.
        """
        for step in self.steps(probabilities, params, strokes=strokes):
            if step.refinement is not None:
                return step.refinement
        raise AssertionError("the last step carries the refinement")

    def steps(self, probabilities: ArrayLike, params: CRFParams, *, strokes: ArrayLike | None = None) -> Iterator[Step]:
        """Refine step by step: each `Step` is progress, and a point to stop by not asking for the next.

        Parameters and errors are those of `refine`; only the last step has a refinement.
        """
        unary = self._energies(as_array(probabilities), strokes, params.label_bias)
        self.terms.forget_other_pixels(unary.valid)
        if unary.valid is not None and not self._is_part:
            _say_missing(unary.valid)
        compatibility_arrays(params, unary.n_labels)
        active = [kernel for kernel in params.kernels if kernel.weight > 0]
        n_steps = len(active) + params.n_iterations + 1
        for done, kernel in enumerate(active):
            if not self.terms.has(kernel):
                yield Step(BUILDING if kernel.intensity_sigma else "smoothing", done / n_steps)
                self.terms.build(kernel)
        self.terms.forget_others(params)
        terms = [(kernel.weight, self.terms[kernel]) for kernel in active]
        n_dims = len(self.grid.shape) + self.terms.intensities.shape[1]
        states = iterate(unary, terms, params, n_dims, None if self._last is None else self._last.beginning)
        for state in states:
            if self._last is not None:
                self._last.beginning = state.beginning
            done = len(active) + state.iteration
            if state.iteration < params.n_iterations:
                yield Step(f"iteration {state.iteration + 1} of {params.n_iterations}", done / n_steps)
            else:
                spacing, shape = self.grid.spacing, self.grid.shape
                changes = state.largest_change
                result = Refinement(params, spacing, changes, state, shape, unary.n_labels, unary.valid)
                yield Step("done", 1.0, result)

    def _energies(
        self, probabilities: NDArray[Any], strokes: ArrayLike | None, label_bias: tuple[float, ...] | None
    ) -> Unary:
        """Return the unary energies; those of last time where the map is the same."""
        if self._last is not None and self._last.is_of(probabilities, strokes):
            return self._last.favoured(label_bias)
        if not self._is_part:
            check_values(probabilities, self.grid)
        unary = unary_energies(probabilities, self.grid, strokes, self._valid, is_part=self._is_part)
        self._last = LastMap.of(probabilities, strokes, unary)
        return favoured(unary, label_bias) if self._last is None else self._last.favoured(label_bias)

    @property
    def lattices(self) -> tuple[Lattice, ...]:
        """The lattices that are kept, whose sizes tell what memory they take."""
        return self.terms.lattices


def _say_missing(valid: NDArray[np.bool_]) -> None:
    share = share_words(1 - np.count_nonzero(valid) / valid.size)
    warnings.warn(f"{share} of the pixels have no value and take no part", InputWarning, 4)


def _sigmas(kernel: PairwiseKernel) -> _Sigmas:
    return kernel.position_sigma, kernel.intensity_sigma
