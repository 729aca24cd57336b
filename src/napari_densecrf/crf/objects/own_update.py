"""One update of the marginals of the pixels that have more than one candidate (Numba).

    Q_i(l) = exp(z_i(l)) / sum_k exp(z_i(k)),    z_i(l) = log p_i(l) + b_l + what i has received for l.

Pixels with as many candidates lie together in `Pairs`, so a block of them is updated candidate after candidate.
"""

from __future__ import annotations

import numpy as np

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.loops import copy_values
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.vectormath import expf, logf

BLOCK = 1024
# The columns of a report: energy of what was sent to the old marginals; energy of the new ones without it; change.
PAIRWISE, OTHER, CHANGE = range(3)


@kernel()
def _exponential(value):
    return expf(value) if value < np.float32(0.0) else np.float32(1.0)


@inlined()
def _exponents(first, n_objects, pairs, received, background_received, bias, z, most):
    """Set the exponents of the candidates, (n_objects + 1, n), and the largest of each pixel; see `_update_alike`."""
    last = first + most.size
    start, stop = pairs.open_starts[first], pairs.open_starts[last]
    _exponents_of(pairs.open_pixels[first:last], pairs.background, np.float32(0.0), background_received, z[0])
    copy_values(z[0], most)
    for e in range(n_objects):
        _exponents_of(pairs.open_pairs[start + e : stop : n_objects], pairs.log_p, bias, received, z[e + 1])
        _larger(z[e + 1], most)


@inlined()
def _exponents_of(indices, log_p, bias, received, z):
    for k in range(z.size):
        z[k] = log_p[indices[k]] + bias + received[indices[k]]


@inlined()
def _larger(values, most):
    for k in range(most.size):
        most[k] = max(most[k], values[k])


@inlined()
def _exponentials(most, z, totals):
    """Take the exponentials of one candidate of each pixel, and add them to what they are divided by."""
    for k in range(z.size):
        z[k] = _exponential(z[k] - most[k])
        totals[k] += z[k]


@inlined()
def _add_logarithms(totals, sums):
    for k in range(sums.size):
        sums[k] += logf(totals[k])


@inlined()
def _divide(totals, z):
    for k in range(z.size):
        z[k] /= totals[k]


@inlined()
def _take(indices, new, received, q, report):
    """Set the marginals of one candidate of each pixel; report what it sent and what it gains, and the change."""
    sent, gained, change = 0.0, 0.0, np.float32(0.0)
    for k in range(new.size):
        index = indices[k]
        change = max(change, abs(new[k] - q[index]))
        sent += np.float64(q[index] * received[index])
        gained += np.float64(new[k] * received[index])
        q[index] = new[k]
    report[PAIRWISE] -= 0.5 * sent
    report[OTHER] += gained
    report[CHANGE] = max(report[CHANGE], np.float64(change))


@inlined()
def _update_alike(first, last, n_objects, pairs, received, background_received, bias, q, background_q, report):
    """Update the marginals of the open pixels from ``first`` on, all with ``n_objects`` candidates and the background.

    Candidate after candidate, so that several pixels are updated at once.
    """
    size = last - first
    z = np.empty((n_objects + 1, size), np.float32)
    most, totals = np.empty(size, np.float32), np.zeros(size, np.float32)
    _exponents(first, n_objects, pairs, received, background_received, bias, z, most)
    for e in range(n_objects + 1):
        _exponentials(most, z[e], totals)
    for e in range(n_objects + 1):
        _divide(totals, z[e])
    _take(pairs.open_pixels[first:last], z[0], background_received, background_q, report)
    start, stop = pairs.open_starts[first], pairs.open_starts[last]
    for e in range(n_objects):
        _take(pairs.open_pairs[start + e : stop : n_objects], z[e + 1], received, q, report)
    # sum_l Q (psi + log Q), where log Q(l) is what the exponent was, less this logarithm.
    _add_logarithms(totals, most)
    for k in range(size):
        report[OTHER] -= np.float64(most[k])


@parallel_kernel()
def update_marginals(given, block):
    """Update the marginals of a block of the open pixels.

    Parameters
    ----------
    pairs : Pairs
    received : (n_pairs,) float32
        What each pair has been sent.
    background_received : (n_points,) float32
    bias : float32
        Log-odds that favour objects against the background.
    q : (n_pairs,) float32, in and out
    background_q : (n_points,) float32, in and out
    reports : (n_blocks, 3) float64, out
        Columns PAIRWISE, OTHER and CHANGE; zeros before.
    """
    pairs, received, background_received, bias, q, background_q, reports = arguments_of(given)
    starts = pairs.open_starts
    first, end = block * BLOCK, min((block + 1) * BLOCK, pairs.open_pixels.size)
    while first < end:
        n_objects = starts[first + 1] - starts[first]
        last = first + 1
        while last < end and starts[last + 1] - starts[last] == n_objects:
            last += 1
        _update_alike(
            first, last, n_objects, pairs, received, background_received, bias, q, background_q, reports[block]
        )
        first = last
