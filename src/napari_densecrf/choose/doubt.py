"""How often a map of two classes is right, told from strokes wherever they were drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Log-odds of the second class are counted in so many bins, up to the largest.
N_BINS, LARGEST = 40, 5.0
MIDDLES = (np.arange(N_BINS) + 0.5) * (2 * LARGEST / N_BINS) - LARGEST
# Bins in which the map says the first class.
IS_FIRST = MIDDLES < 0
# What may be wrong with a map: its log-odds are shifted, or stretched. Both are looked at on a grid, with normal priors
# of these sigmas: a shift in log-odds, and the logarithm of a stretch.
SHIFTS, SHIFT_SIGMA = np.linspace(-3.0, 3.0, 31), 2.0
STRETCHES, STRETCH_SIGMA = np.exp(np.linspace(-1.0, 1.0, 9)), 0.4
# Of the grid, so many points hold nearly all of the probability.
N_POINTS = 60
# (n_stretches, n_shifts, n_bins): how probable the second class then is.
SECOND = 1 / (1 + np.exp(-(STRETCHES[:, None, None] * MIDDLES + SHIFTS[:, None])))


@dataclass(frozen=True, eq=False)
class Doubt:
    """Ways in which the map may be wrong, and how probable each is.

    Parameters
    ----------
    second : (n_points, n_bins) float
        0..1: how probable the second class is where the map has these log-odds.
    weights : (n_points,) float
        Sum to 1.
    """

    second: NDArray[np.float64]
    weights: NDArray[np.float64]

    def wrong(self, pixels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how many pixels, given by bin, are of the second class where the map says the first; and the reverse.

        Both (n_points,).
        """
        missed, added = self.second * pixels, (1 - self.second) * pixels
        return missed[:, IS_FIRST].sum(axis=1), added[:, ~IS_FIRST].sum(axis=1)

    def lower_bound(self, values: NDArray[np.float64], n_sigmas: float) -> float:
        """Return the mean of values at the points, less so many standard deviations."""
        mean = float(values @ self.weights)
        return mean - n_sigmas * float(np.sqrt(((values - mean) ** 2) @ self.weights))


def bins_of(probabilities: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the bin of each pixel, on the side of what the map says.

    Parameters
    ----------
    probabilities : (2, *spatial) float32
        Positive.
    labels : (*spatial) int
    """
    log_odds = np.log(probabilities[1]) - np.log(probabilities[0])
    bins = np.clip((log_odds + LARGEST) * (N_BINS / (2 * LARGEST)), 0, N_BINS - 1).astype(np.intp)
    half = N_BINS // 2
    nearest: NDArray[np.intp] = np.where(labels == 1, np.maximum(bins, half), np.minimum(bins, half - 1))
    return nearest


def doubt_of(
    pixels: NDArray[np.float64], strokes: NDArray[np.float64], classes: NDArray[np.intp], *, at_errors: bool
) -> Doubt:
    """Learn from strokes how the map's log-odds are shifted and stretched.

    Parameters
    ----------
    pixels : (n_bins,) float
        How many pixels of the map have these log-odds.
    strokes : (n_strokes, n_bins) float
        The share of each stroke's pixels in each bin; a stroke is one observation, however long it is.
    classes : (n_strokes,) int
        0 or 1.
    at_errors : bool
        Whether strokes were drawn where the map is wrong, and not anywhere in their class.

    Returns
    -------
    Doubt

    Notes
    -----
    How many strokes a class has says nothing of how frequent it is: an annotator draws as many as they like. What they
    do say is where in their class they lie, so the likelihood of a stroke of class k is that of its log-odds among the
    pixels of that class, ``n(L) P(k | L) / sum_L' n(L') P(k | L')``, as in case-control studies (Prentice and Pyke,
    Biometrika 66, 1979). Strokes at errors are not a fair sample of their class either. They still are one of the
    pixels of that class which the map has wrong, and those that it has right of the others: the sum then runs over
    that side alone, and nothing is concluded from how many strokes the map has wrong.
    """
    likelihood = np.zeros(SECOND.shape[:2])
    for label, probable in ((0, 1 - SECOND), (1, SECOND)):
        joint = pixels * probable + 1e-9 * max(1.0, float(pixels.sum()))
        share = joint / joint.sum(axis=-1, keepdims=True)
        if at_errors:
            for side in (IS_FIRST, ~IS_FIRST):
                share[..., side] = joint[..., side] / joint[..., side].sum(axis=-1, keepdims=True)
        likelihood += np.log(share) @ strokes[classes == label].sum(axis=0)
    prior = (SHIFTS / SHIFT_SIGMA) ** 2 + (np.log(STRETCHES)[:, None] / STRETCH_SIGMA) ** 2
    posterior = (likelihood - 0.5 * prior).ravel()
    best = np.argsort(-posterior, kind="stable")[:N_POINTS]
    weights = np.exp(posterior[best] - posterior[best[0]])
    return Doubt(SECOND.reshape(-1, N_BINS)[best], weights / weights.sum())
