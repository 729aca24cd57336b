"""Many Python threads at once: parallel kernels run one at a time, whoever calls them, and give the same bits."""

import importlib.util
import os
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba as nb
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError

import napari_densecrf as ndc
from napari_densecrf import crf
from napari_densecrf.crf.lattice.blur import suited_blur
from napari_densecrf.crf.numba.compile import kernel
from napari_densecrf.crf.numba.parallel import ParallelKernel, n_threads, one_at_a_time, threads_at_most
from napari_densecrf.crf.unary import _differences as some_parallel_kernel


def all_calls():
    """Return every way into the parallel kernels, small: name to a function that returns an array."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 20, (48, 56)).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(3), image.shape).transpose(2, 0, 1).astype(np.float32)
    params = ndc.CRFParams((ndc.PairwiseKernel(3.0, 8.0, 12.0), ndc.PairwiseKernel(1.0, 2.0)), n_iterations=3)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[5:8, 5:30], strokes[30:33, 5:30] = 1, 2
    refiner = ndc.Refiner(image)
    refiner.refine(probabilities, params)

    def few_threads():
        with threads_at_most(1):
            return ndc.refine(image, probabilities, params).marginals

    calls = {
        "refine": lambda: ndc.refine(image, probabilities, params).marginals,
        "refine again": lambda: ndc.Refiner(image).refine(probabilities, params).labels,
        "on few threads": few_threads,
        "filter": lambda: ndc.Lattice(image.reshape(-1, 2) / 20).filter(np.ones((image.size // 2, 2))),
        "probe": lambda: np.array([suited_blur(ndc.take_probe(image), np.full(2, 0.2), np.full(1, 0.1)).fineness]),
        "influence": lambda: ndc.influence(image, params, (20, 20)),
        "suggest": lambda: np.array(str(ndc.suggest(image, probabilities))),
    }
    if importlib.util.find_spec("sklearn"):
        calls["strokes"] = lambda: ndc.probabilities_from_strokes(image, strokes)
    return calls


def all_modules():
    """Return every module that may hold kernels."""
    return [importlib.import_module(found.name) for found in pkgutil.walk_packages(crf.__path__, f"{crf.__name__}.")]


def call_all_at_once(n_python_threads, n_rounds):
    """Call everything from many threads; raise where one gives other bits than alone."""
    calls = all_calls()
    alone = {name: call() for name, call in calls.items()}
    names = [name for _ in range(n_rounds) for name in calls] * n_python_threads
    order = np.random.default_rng(n_python_threads).permutation(names).tolist()
    with ThreadPoolExecutor(n_python_threads) as threads:
        for name, found in zip(order, threads.map(lambda name: calls[name](), order), strict=True):
            np.testing.assert_array_equal(found, alone[name], name)


@pytest.mark.slow
@pytest.mark.parametrize("n_python_threads", [2, 4, 8])
def test_calls_at_once_under_the_layer_that_aborts(n_python_threads):
    code = f"import test_threads; test_threads.call_all_at_once({n_python_threads}, 3)"
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_all_parallel_kernels_take_the_lock():
    found = {}
    for module in all_modules():
        for name, value in vars(module).items():
            if isinstance(value, ParallelKernel):
                found[f"{value.__module__}.{name}"] = value
            # What Numba compiled is reached from Python only where it is not parallel.
            assert not (isinstance(value, Dispatcher) and value.targetoptions.get("parallel")), name
    assert len(found) >= 10


def test_no_other_file_compiles_in_parallel():
    for path in Path(ndc.__file__).parent.rglob("*.py"):
        if path.name != "parallel.py":
            text = path.read_text(encoding="utf-8")
            assert "parallel=" not in text, path
            assert "prange(" not in text, path


def test_a_parallel_kernel_waits_while_the_lock_is_held():
    with ThreadPoolExecutor(1) as threads, one_at_a_time:
        waiting = threads.submit(call_some_kernel)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        # The thread that holds the lock may go on.
        call_some_kernel()
    assert waiting.done()


def call_some_kernel():
    """Call one parallel kernel."""
    planes = np.full((1, 10), 0.5, np.float32)
    some_parallel_kernel(1, planes, np.float32(1e-6), np.empty((10, 1), np.float32), np.empty(1), np.empty((1, 3), int))


def test_no_kernel_calls_a_parallel_one():
    @kernel(cache=False)
    def calls_it(planes, smallest, differences, energies, counts):
        some_parallel_kernel(1, planes, smallest, differences, energies, counts)

    with pytest.raises(TypingError):
        calls_it(
            np.ones((1, 9), np.float32), np.float32(1e-6), np.ones((9, 1), np.float32), np.ones(1), np.ones((1, 3))
        )


def test_threads_are_limited_for_this_thread_only_and_given_back():
    all_threads = nb.get_num_threads()
    with threads_at_most(1):
        assert nb.get_num_threads() == 1
        with threads_at_most(None):
            assert nb.get_num_threads() == 1
        with threads_at_most(1000), ThreadPoolExecutor(1) as threads:
            assert threads.submit(nb.get_num_threads).result() == n_threads()
    assert nb.get_num_threads() == all_threads
