"""The truth, O(N^2): the model of docs/model.md in plain double precision, as dumb as it can be."""

import numpy as np

from napari_densecrf import CRFParams, PairwiseKernel


def positions(shape, spacing=None):
    """Return (n_points, n_axes) coordinates of the pixels in C order, in the unit of spacing."""
    spacing = np.ones(len(shape)) if spacing is None else np.asarray(spacing, dtype=float)
    return np.stack([axis.ravel() for axis in np.indices(shape)], axis=1) * spacing


def features(kernel: PairwiseKernel, coordinates, intensities):
    """Return (n_points, n_dims): f of docs/model.md, already divided by the sigmas."""
    scaled = coordinates / np.asarray(kernel.position_sigma, dtype=float)
    if kernel.intensity_sigma is None:
        return scaled
    return np.concatenate([scaled, intensities / np.asarray(kernel.intensity_sigma, dtype=float)], axis=1)


def gaussian_matrix(points):
    """Return k (n_points, n_points): exp(-|f_i - f_j|^2 / 2)."""
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * points @ points.T
    return np.exp(-0.5 * np.maximum(distances, 0))


def pairwise_matrix(params: CRFParams, coordinates, intensities):
    """Return sum_m w_m k~_m, normalised by the full row sums, with j = i left out."""
    total = np.zeros((len(coordinates), len(coordinates)))
    for kernel in params.kernels:
        k = gaussian_matrix(features(kernel, coordinates, intensities))
        row_sums = k.sum(axis=1)
        normalised = k / np.sqrt(row_sums[:, None] * row_sums[None, :])
        np.fill_diagonal(normalised, 0.0)
        total += kernel.weight * normalised
    return total


def potts(n_labels):
    """Return mu(l, l') = [l != l']."""
    return 1.0 - np.eye(n_labels)


def softmax(energies):
    """Return exp(energies) normalised over the last axis."""
    exponentials = np.exp(energies - energies.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def free_energy(marginals, unary, pairwise, mu):
    """Return F(Q) of docs/model.md."""
    q_log_q = np.where(marginals > 0, marginals * np.log(np.maximum(marginals, 1e-300)), 0.0)
    data = np.where(marginals > 0, marginals * np.where(np.isfinite(unary), unary, 0.0), 0.0)
    return data.sum() + 0.5 * (marginals * (pairwise @ marginals @ mu)).sum() + q_log_q.sum()


def mean_field(unary, pairwise, params: CRFParams):
    """Return Q (n_points, n_labels) after the updates, and F before each and after the last.

    A hard constraint is an infinite unary energy of every other label.
    """
    mu = potts(unary.shape[1]) if params.compatibility is None else np.asarray(params.compatibility, dtype=float)
    marginals = softmax(-unary)
    energies = [free_energy(marginals, unary, pairwise, mu)]
    for _ in range(params.n_iterations):
        update = softmax(-unary - pairwise @ marginals @ mu)
        if params.damping:
            free = np.isfinite(unary).all(axis=1)
            kept = params.damping * np.log(np.maximum(marginals, 1e-300))
            mixed = softmax(kept + (1 - params.damping) * np.log(np.maximum(update, 1e-300)))
            update = np.where(free[:, None], mixed, update)
        marginals = update
        energies.append(free_energy(marginals, unary, pairwise, mu))
    return marginals, np.array(energies)


def refine(image, probabilities, params, spacing=None, channel_axis=None, strokes=None, eps=1e-6):
    """Return marginals (n_labels, *spatial) and the free energies: what the fast engine approximates."""
    spatial = probabilities.shape[1:]
    channels = np.asarray(image, dtype=float)
    channels = channels[..., None] if channel_axis is None else np.moveaxis(channels, channel_axis, -1)
    probabilities = np.clip(probabilities.astype(float), eps, 1.0)
    probabilities = probabilities / probabilities.sum(axis=0)
    unary = -np.log(probabilities.reshape(len(probabilities), -1).T)
    if strokes is not None:
        fixed = np.flatnonzero(strokes)
        unary[fixed] = np.inf
        unary[fixed, strokes.ravel()[fixed] - 1] = 0.0
    pairwise = pairwise_matrix(params, positions(spatial, spacing), channels.reshape(-1, channels.shape[-1]))
    marginals, energies = mean_field(unary, pairwise, params)
    return marginals.T.reshape(probabilities.shape), energies
