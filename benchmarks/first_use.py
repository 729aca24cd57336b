"""What the first use costs, with nothing compiled yet: processor seconds, and in units of a five-line parallel kernel.

python benchmarks/first_use.py
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable

# Read when Numba is imported.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

import numba as nb
import numpy as np

import napari_densecrf as ndc
from napari_densecrf.crf.numba.watch import Watch, watching


@nb.njit(parallel=True)  # type: ignore[untyped-decorator]
def unit(values: np.ndarray) -> None:
    """Do little in parallel, as one of Numba's own examples does."""
    for k in nb.prange(values.size):
        values[k] = 2 * values[k] + 1


def seconds_of(call: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Print one line for each kind of image, in turn in one process: what the ones before have compiled is there."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (64, 64)).astype(np.uint8)
    rgb = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    volume = rng.integers(0, 255, (12, 24, 24)).astype(np.uint8)
    two, three = (rng.dirichlet(np.ones(n), (64, 64)).transpose(2, 0, 1).astype(np.float32) for n in (2, 3))
    of_volume = rng.dirichlet(np.ones(2), volume.shape).transpose(3, 0, 1, 2).astype(np.float32)
    objects = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((12, 12), np.int64), 2))
    one_unit = seconds_of(lambda: unit(np.ones(10, np.float32)))
    print(f"unit: {one_unit:.2f} s")
    calls: dict[str, Callable[[], object]] = {
        "gray, two classes": lambda: ndc.refine(gray, two),
        "then RGB": lambda: ndc.refine(rgb, two, channel_axis=-1),
        "then a volume": lambda: ndc.refine(volume, of_volume),
        "then three classes": lambda: ndc.refine(gray, three),
        "then objects": lambda: ndc.refine_objects(gray, objects),
    }
    for name, call in calls.items():
        with watching(Watch()) as watch:
            seconds = seconds_of(call)
        print(f"{name}: {seconds:.1f} s, {watch.n_functions} functions")


if __name__ == "__main__":
    main()
