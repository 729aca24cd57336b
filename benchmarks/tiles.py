"""A large image in tiles, from zarr to zarr: agreement at the seams, memory, seconds beside the cost in memory.

``--side 16384`` is what the promise is about; the default is a sixteenth of it. Everything is made here, in a
temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import zarr
from scipy import ndimage
from skimage import data

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.large.tiling import GIB

PARAMS = CRFParams((PairwiseKernel(10.0, 20.0, 10.0), PairwiseKernel(3.0, 3.0)))
CHUNK = 1024


def write_sample(folder: Path, side: int) -> tuple[zarr.Array, zarr.Array]:
    """Write a section's gray, mirrored out to ``side``, and a noisy map of two classes, chunk by chunk."""
    gray = data.immunohistochemistry().mean(axis=-1).astype(np.uint8)
    pattern = np.concatenate([np.concatenate([gray, gray[:, ::-1]], 1), np.concatenate([gray, gray[:, ::-1]], 1)[::-1]])
    bright = ndimage.gaussian_filter((pattern > np.median(gray)).astype(np.float32), 2)
    image = zarr.create_array(folder / "image.zarr", shape=(side, side), chunks=(CHUNK, CHUNK), dtype=np.uint8)
    maps = zarr.create_array(folder / "map.zarr", shape=(2, side, side), chunks=(2, CHUNK, CHUNK), dtype=np.float32)
    rng = np.random.default_rng(0)
    for y in range(0, side, CHUNK):
        for x in range(0, side, CHUNK):
            planes = np.stack([1 - bright, bright]) + 0.3 * rng.random((2, *pattern.shape), dtype=np.float32) + 0.02
            rows, columns = min(CHUNK, side - y), min(CHUNK, side - x)
            noisy = pattern + rng.normal(0, 2, pattern.shape)
            image[y : y + rows, x : x + columns] = noisy.clip(0, 255).astype(np.uint8)[:rows, :columns]
            maps[:, y : y + rows, x : x + columns] = (planes / planes.sum(axis=0))[:, :rows, :columns]
    return image, maps


class Memory(threading.Thread):
    """Notes the most memory that this process takes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Look a hundred times a second."""
        process = psutil.Process()
        while not self._over.wait(0.01):
            self.most = max(self.most, process.memory_info().rss)

    def stop(self) -> int:
        """Return the most bytes."""
        self._over.set()
        self.join()
        return self.most


def in_memory_cost(image: zarr.Array, maps: zarr.Array, side: int) -> tuple[float, float]:
    """Return the seconds and the processor seconds a pixel of `refine` on a part that fits."""
    part, part_maps = image[:side, :side], maps[:, :side, :side]
    started, cpu = time.perf_counter(), time.process_time()
    _ = ndc.refine(part, part_maps, PARAMS).labels
    return (time.perf_counter() - started) / part.size, (time.process_time() - cpu) / part.size


def seams(image: zarr.Array, maps: zarr.Array, side: int) -> None:
    """Print how many labels of a part are those of the part refined at once, for several tilings."""
    part, part_maps = image[:side, :side], maps[:, :side, :side]
    whole = ndc.refine(part, part_maps, PARAMS).labels
    for memory in (0.5, 0.1, 0.03):
        plan = ndc.plan_tiles(part, part_maps, PARAMS, tile_memory=int(memory * GIB))
        labels = ndc.refine_tiles(part, part_maps, PARAMS, plan=plan).compute()
        sides = " x ".join(map(str, plan.tile_shape))
        share = 100 * (labels == whole).mean()
        print(f"  {plan.n_tiles:4} tiles of {sides}, halo {plan.halo[0]}: {share:.4f} % of labels agree", flush=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--tile-memory", type=float, default=0.75, help="GiB")
    parser.add_argument("--workers", type=int, default=2, help="Dask's threads: one refines, the others read and write")
    parser.add_argument("--folder", type=Path, help="where the sample is kept, and found again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        if (folder / "map.zarr").exists():
            image, maps = zarr.open_array(folder / "image.zarr"), zarr.open_array(folder / "map.zarr")
        else:
            image, maps = write_sample(folder, options.side)
        print(f"{options.side} x {options.side} gray, 2 labels, {os.cpu_count()} cores")
        part = min(options.side, 2048)
        in_memory_cost(image, maps, 256)
        costs = [in_memory_cost(image, maps, part)]
        plan = ndc.plan_tiles(image, maps, PARAMS, tile_memory=int(options.tile_memory * GIB))
        print(plan, flush=True)
        memory = Memory()
        memory.start()
        started, cpu = time.perf_counter(), time.process_time()
        with dask.config.set(scheduler="threads", num_workers=options.workers):
            labels = ndc.refine_tiles(image, maps, PARAMS, plan=plan)
            da.to_zarr(labels, str(folder / "labels.zarr"), overwrite=True)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        most = memory.stop()
        costs.append(in_memory_cost(image, maps, part))
        n_pixels = options.side**2
        wall = np.mean([cost[0] for cost in costs]) * n_pixels
        processor = np.mean([cost[1] for cost in costs]) * n_pixels
        print(f"  in memory: {wall:.1f} s for so many pixels ({processor:.1f} s of processors)")
        print(
            f"  zarr to zarr: {seconds:.1f} s, {seconds / wall:.2f} x "
            f"({cpu:.1f} s of processors, {cpu / processor:.2f} x)"
        )
        print(f"  most memory: {most / 1e9:.2f} GB")
        seams(image, maps, part)


if __name__ == "__main__":
    main()
