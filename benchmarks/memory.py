"""Memory and time a pixel, by size: peak beyond the inputs, each in a process of its own. Linux only."""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from skimage import data, transform

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel

SIGMAS = {"gray": (20.0, 10.0), "rgb": (80.0, 13.0)}


def resident_bytes() -> int:
    """Return the memory that the process has now."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


class Peak:
    """Watches the memory of the process, a thousand times a second, while its block runs."""

    def __enter__(self) -> Peak:
        """Start."""
        self.start = self.most = resident_bytes()
        self._running = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._running:
            self.most = max(self.most, resident_bytes())
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._running = False
        self._thread.join()


def measure(kind: str, size: int) -> None:
    """Print what one refinement takes."""
    image = data.immunohistochemistry()
    if kind == "gray":
        image = image.mean(axis=-1).astype(np.uint8)
    image = (255 * transform.resize(image, (size, size))).astype(np.uint8)
    probabilities = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    probabilities /= probabilities.sum(axis=0)
    channel_axis = -1 if kind == "rgb" else None
    params = CRFParams((PairwiseKernel(10.0, *SIGMAS[kind]), PairwiseKernel(3.0, 3.0)))
    ndc.refine(image[:100, :100], probabilities[:, :100, :100], params, channel_axis=channel_axis)
    gc.collect()
    with Peak() as peak:
        cpu = time.process_time()
        refiner = ndc.Refiner(image, channel_axis=channel_axis)
        refiner.refine(probabilities, params).labels  # noqa: B018
        cpu = time.process_time() - cpu
    del refiner
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    left = resident_bytes() - peak.start
    print(
        f"{kind} {size}^2: peak {(peak.most - peak.start) / size**2:.1f} bytes a pixel, {left / size**2:.1f} left; "
        f"{1e9 * cpu / size**2:.0f} ns of processor time a pixel",
        flush=True,
    )


def main() -> None:
    """Measure the sizes, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "SIZE"))
    options = parser.parse_args()
    if options.one:
        measure(options.one[0], int(options.one[1]))
        return
    for kind in SIGMAS:
        for size in (256, 512, 1024, 2048, 4096):
            subprocess.run([sys.executable, __file__, "--one", kind, str(size)], check=True)


if __name__ == "__main__":
    main()
