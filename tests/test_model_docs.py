"""docs/model.md: its formulas hold against the reference, and what it names is there."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import reference
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.crf.meanfield import compatibility_arrays

# Draws pictures with the engine.
pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[1] / "docs" / "model.md").read_text(encoding="utf-8")


def test_pictures_are_there_and_are_made_by_the_code(tmp_path):
    pytest.importorskip("matplotlib")
    named = re.findall(r"\]\(images/([\w-]+\.png)\)", TEXT)
    assert named
    folder = Path(__file__).parents[1] / "docs"
    subprocess.run([sys.executable, str(folder / "make_model_figures.py"), str(tmp_path)], check=True)
    for name in named:
        assert (folder / "images" / name).is_file()
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    intensities = rng.normal(size=(40, 1))
    params = CRFParams((PairwiseKernel(2.0, 2.0, 1.0),), n_iterations=200, damping=0.5)
    pairwise = reference.pairwise_matrix(params, reference.positions((5, 8)), intensities)
    unary = -np.log(rng.dirichlet(np.ones(3), 40))
    return unary, pairwise, params


def test_all_that_is_named_exists():
    named = re.findall(r"`([\w/]+)\.py: ([\w.]+)`", TEXT)
    assert len(named) >= 10
    for module, name in named:
        found = import_module(f"napari_densecrf.{module.replace('/', '.')}")
        for part in name.split("."):
            found = getattr(found, part)


def test_the_fixed_point_is_stationary_and_the_flipped_sign_is_worse(problem):
    unary, pairwise, params = problem
    q, energies = reference.mean_field(unary, pairwise, params)
    assert (np.diff(energies) <= 1e-9).all()
    mu = reference.potts(3)
    gradient = unary + pairwise @ q @ mu + np.log(q) + 1
    # Stationary under sum-to-one: the gradient is the same for all labels.
    np.testing.assert_allclose(gradient, gradient.mean(axis=1, keepdims=True) + 0 * gradient, atol=1e-6)
    flipped = reference.softmax(unary + pairwise @ q @ mu)
    assert reference.free_energy(flipped, unary, pairwise, mu) > energies[-1]


def test_potts_may_skip_the_compatibility(problem):
    unary, pairwise, _ = problem
    q = reference.softmax(-unary)
    messages = pairwise @ q
    np.testing.assert_allclose(
        reference.softmax(-unary - messages @ reference.potts(3)), reference.softmax(-unary + messages)
    )


@pytest.mark.parametrize("potts", [True, False])
def test_one_number_less_is_the_same_update(problem, potts):
    unary, pairwise, _ = problem
    rng = np.random.default_rng(1)
    costs = rng.random((3, 3))
    mu = reference.potts(3) if potts else costs + costs.T
    q = reference.softmax(-unary)
    messages, total = pairwise @ q, pairwise.sum(axis=1)
    coupling, offsets, _, is_potts = compatibility_arrays(CRFParams(compatibility=None if potts else mu), 3)
    assert is_potts == potts
    z = unary[:, 2:] - unary[:, :2] + total[:, None] * offsets + messages[:, :2] @ coupling.T
    ours = np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(ours, reference.softmax(-unary - messages @ mu)[:, :2], atol=1e-6)
    if potts:
        np.testing.assert_allclose(
            z,
            unary[:, 2:] - unary[:, :2] + messages[:, :2] + messages[:, :2].sum(axis=1, keepdims=True) - total[:, None],
        )


def test_the_free_energy_is_the_expected_energy_less_the_entropy(problem):
    unary, pairwise, _ = problem
    q = reference.softmax(-unary)
    mu = reference.potts(3)
    pairs = 0.0
    for i in range(len(q)):
        for j in range(i):
            pairs += pairwise[i, j] * q[i] @ mu @ q[j]
    expected = (q * unary).sum() + pairs + (q * np.log(q)).sum()
    assert reference.free_energy(q, unary, pairwise, mu) == pytest.approx(expected)
