"""A first probability map from strokes alone: features of each pixel at a few scales, and a forest that learns them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import Grid, from_image
from napari_densecrf.crf.numba.parallel import n_threads
from napari_densecrf.crf.unary import stroke_classes

# Sigmas of the smoothing, in pixels of the axis that is sampled finest.
SCALES = (1.0, 2.0, 4.0, 8.0)
# Measured on nine images with truth and simulated strokes, five of up to 25 pixels a class (mean IoU). Two sets of
# strokes each: extremely randomised trees 0.74, a random forest 0.72, logistic regression 0.73. Three sets each: the
# trees 0.747 with 50 or 100 of them and a log loss of 0.26, kernel logistic regression 0.746 with 0.33.
N_TREES = 50
LEAF_PIXELS = 3
# More pixels of a class teach little, and take time.
MOST_PIXELS_A_CLASS = 4000
PIXELS_A_RUN = 32768


@dataclass(frozen=True, eq=False)
class Samples:
    """Pixels of known class.

    Parameters
    ----------
    features : (n, n_features) float32
    classes : (n,) int
        k is class k - 1, as in strokes.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.integer]


class PixelClassifier:
    """Makes probability maps of one image from strokes again and again, and computes the image's features once.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype. Pixels that are NaN or
        masked count as dark as the darkest: a map is made for them too, but `refine` gives them no label.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis: features are smoothed alike along all. None = 1.
    channel_axis : int, optional
        Axis of the channels; None = gray.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """

    def __init__(
        self, image: ArrayLike, *, spacing: Sequence[float] | float | None = None, channel_axis: int | None = None
    ) -> None:
        self.grid: Grid
        self.grid, self._intensities, _ = from_image(image, spacing, channel_axis)

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(n_points, n_features) float32, made when first asked for.

        Of each channel its intensity, and at each of four scales: the smoothed intensity, the gradient's magnitude
        and the Hessian's eigenvalues, the usual ones of interactive pixel classification (ilastik, Labkit).
        """
        planes = self._intensities.T.reshape(-1, *self.grid.shape)
        return np.stack([feature.ravel() for plane in planes for feature in _features(plane, self.grid)], axis=1)

    def probabilities(self, strokes: ArrayLike, *, n_labels: int | None = None) -> NDArray[np.float32]:
        """Learn from strokes what the classes look like, and say what each pixel looks like.

        Parameters
        ----------
        strokes : (*spatial) array_like of int
            0 = not said, k = this pixel is class k - 1. At least two classes.
        n_labels : int, optional
            Number of classes; None = the largest that the strokes name.

        Returns
        -------
        (n_labels, *spatial) float32
            0..1, sums to 1 over the labels. Never 0 or 1, so that a CRF can still move every pixel: where all 50
            trees agree, one of two classes has 0.99.

        Raises
        ------
        ValueError
            For strokes of fewer than two classes, or that do not fit the image or ``n_labels``.
        ImportError
            Without scikit-learn; says what to install.

        Notes
        -----
        Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006) with at least 3 pixels a leaf; p is the mean
        over the trees and one more that knows nothing: ``p = (sum_trees p_tree + 1 / n_labels) / (n_trees + 1)``.
        The seed is fixed, and neither threads nor earlier strokes matter: same strokes, same map.
        """
        array = np.asarray(strokes)
        largest = int(array.max(initial=0)) if n_labels is None else n_labels
        return self.probabilities_like([self.samples(array, largest)], largest)

    def samples(self, strokes: ArrayLike, n_labels: int) -> Samples:
        """Return what strokes on this image teach about up to ``n_labels`` classes."""
        classes = stroke_classes(strokes, self.grid, n_labels)
        taught = _taught(classes)
        return Samples(self.features[taught], classes[taught])

    def probabilities_like(self, samples: Sequence[Samples], n_labels: int) -> NDArray[np.float32]:
        """Say what each pixel looks like, learned from samples of this image and of others like it.

        As `probabilities` does, which learns from this image alone.
        """
        classes = np.concatenate([sample.classes for sample in samples])
        drawn = np.unique(classes)
        if len(drawn) < 2:
            what = f"class {drawn[0]} alone" if len(drawn) else "no class"
            raise ValueError(f"the strokes name {what}: expected strokes of at least two classes")
        forest = _forest().fit(np.concatenate([sample.features for sample in samples]), classes)
        shares = np.full((n_labels, self.grid.n_points), 1 / (n_labels * (N_TREES + 1)), np.float32)
        shares[drawn - 1] += np.float32(N_TREES / (N_TREES + 1)) * self._mean_of_trees(forest)
        return shares.reshape(n_labels, *self.grid.shape)

    def _mean_of_trees(self, forest: Any) -> NDArray[np.float32]:
        """Return (n_drawn, n_points): each run of pixels sums the trees in their order, whatever the threads."""
        runs = range(0, self.grid.n_points, PIXELS_A_RUN)
        with ThreadPoolExecutor(n_threads()) as threads:
            parts = threads.map(
                lambda first: forest.predict_proba(self.features[first : first + PIXELS_A_RUN]).astype(np.float32), runs
            )
            mean: NDArray[np.float32] = np.concatenate(list(parts)).T
        return mean


def _features(plane: NDArray[np.float32], grid: Grid) -> Iterator[NDArray[np.float32]]:
    """Give the features of one channel, each (*spatial) float32, derivatives in units of their scale."""
    from scipy import ndimage
    from skimage.feature import hessian_matrix_eigvals

    yield plane
    axes = range(plane.ndim)
    for scale in SCALES:
        sigmas = grid.pixel_sigmas(scale * min(grid.spacing))
        smooth = ndimage.gaussian_filter(plane, sigmas, truncate=3.0, mode="nearest")
        slopes = [sigmas[axis] * _difference(smooth, axis) for axis in axes]
        hessian = [sigmas[other] * _difference(slopes[axis], other) for axis in axes for other in axes if other >= axis]
        yield smooth
        yield np.sqrt(sum(slope**2 for slope in slopes)).astype(np.float32)
        for eigenvalues in hessian_matrix_eigvals(np.stack(hessian)):
            yield eigenvalues.astype(np.float32)


def _difference(plane: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the central differences along an axis; 0 along one of a single pixel."""
    from scipy import ndimage

    slope: NDArray[np.float32] = ndimage.correlate1d(plane, np.array([-0.5, 0.0, 0.5]), axis=axis, mode="nearest")
    return slope


def _taught(classes: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the pixels to learn from: all, or so many of each class, evenly spread."""
    taught = [np.empty(0, np.intp)]
    for label in np.unique(classes[classes > 0]):
        pixels = np.flatnonzero(classes == label)
        if len(pixels) > MOST_PIXELS_A_CLASS:
            pixels = pixels[np.linspace(0, len(pixels) - 1, MOST_PIXELS_A_CLASS).astype(int)]
        taught.append(pixels)
    return np.concatenate(taught)


def _forest() -> Any:
    try:
        from sklearn.ensemble import ExtraTreesClassifier
    except ImportError:
        raise ImportError(
            'a map from strokes alone needs scikit-learn: pip install "napari-densecrf[classify]"'
        ) from None
    return ExtraTreesClassifier(N_TREES, min_samples_leaf=LEAF_PIXELS, random_state=0)


def probabilities_from_strokes(
    image: ArrayLike,
    strokes: ArrayLike,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    n_labels: int | None = None,
) -> NDArray[np.float32]:
    """Make a first probability map where there is none, from strokes of at least two classes.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    strokes : (*spatial) array_like of int
        0 = not said, k = this pixel is class k - 1.
    spacing, channel_axis
        As `PixelClassifier` takes them.
    n_labels : int, optional
        Number of classes; None = the largest that the strokes name.

    Returns
    -------
    (n_labels, *spatial) float32
        As `refine` takes it; see `PixelClassifier.probabilities`.

    Raises
    ------
    ValueError, ImportError
        With one sentence that names what came and what is expected.
    """
    classifier = PixelClassifier(image, spacing=spacing, channel_axis=channel_axis)
    return classifier.probabilities(strokes, n_labels=n_labels)
