"""Tiles: the labels of the whole image whatever the tiling, the same bits on every scheduler, little read at a time."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import pytest
import zarr
from numpy.testing import assert_array_equal
from scipy import ndimage
from skimage import data

import napari_densecrf as ndc
from cases import kernels, noisy_map
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.large import dask_arrays, tile_tasks, tiles
from tiles_compared import MIB, agreement

NEAR = CRFParams(kernels(6, 5.0, 12.0, 2.0, 1.5))


def gray(shape=(300, 260), seed=0):
    """Return an image, its truth and a noisy map of two classes."""
    image = data.camera()[: shape[0], 150 : 150 + shape[1]]
    return image, noisy_map((image > image.mean()).astype(int), 2, seed)


def volume():
    rng = np.random.default_rng(2)
    truth = ndimage.gaussian_filter(rng.normal(size=(24, 90, 90)), (2, 4, 4)) > 0
    image = (100 + 60 * truth + rng.normal(0, 12, truth.shape)).astype(np.uint16)
    return image, noisy_map(truth.astype(int), 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("tile_memory", [0.8 * MIB, 2 * MIB, 4 * MIB])
def test_labels_are_those_of_the_whole_whatever_the_tiling(tile_memory):
    image, probabilities = gray()
    n_tiles, share = agreement(image, probabilities, NEAR, tile_memory)
    assert n_tiles > 1
    assert share >= 0.999


def test_channels_and_several_classes_agree():
    rgb = data.immunohistochemistry()[:256, 128:384]
    bands = np.digitize(rgb.mean(axis=-1), [120, 170, 200])
    probabilities = noisy_map(bands, 4, 1)
    params = CRFParams(kernels(5, 6.0, 30.0, 1.0, 1.5))
    n_tiles, share = agreement(np.moveaxis(rgb, -1, 0), probabilities, params, 8 * MIB, channel_axis=0)
    assert n_tiles > 1
    assert share >= 0.999


def test_volumes_with_flat_voxels_agree():
    image, probabilities = volume()
    params = CRFParams(kernels(4, 4.0, 40.0, 1.0, 1.0))
    n_tiles, share = agreement(image, probabilities, params, 10 * MIB, spacing=(2.0, 1.0, 1.0))
    assert n_tiles > 1
    assert share >= 0.999


def test_strokes_hold_across_tiles():
    image, probabilities = gray()
    strokes = np.zeros(image.shape, np.uint8)
    strokes[100:200, 130] = 2
    options = {"strokes": da.from_array(strokes, chunks=64)}
    labels = ndc.refine_tiles(image, probabilities, NEAR, tile_memory=2 * MIB, **options).compute()
    assert (labels[100:200, 130] == 1).all()
    assert (labels == ndc.refine(image, probabilities, NEAR, strokes=strokes).labels).mean() >= 0.999


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integer_maps_are_scaled_by_their_type_not_by_the_tile(dtype):
    image, probabilities = gray()
    foreground = np.round(probabilities[1] * np.iinfo(dtype).max).astype(dtype)
    # Of what a tile here sees, the largest number is 1.
    foreground[:150, :130] = 1
    labels = ndc.refine_tiles(image, foreground, NEAR, tile_memory=MIB).compute()
    assert (labels == ndc.refine(image, foreground, NEAR).labels).mean() >= 0.999


def test_an_image_that_fits_one_tile_gives_the_bits_of_refine():
    image, probabilities = gray()
    wanted = ("labels", "marginals", "entropy")
    found = dask.compute(*ndc.refine_tiles(image, probabilities, NEAR, result=wanted))
    whole = ndc.refine(image, probabilities, NEAR)
    for name, array in zip(wanted, found, strict=True):
        assert_array_equal(array, getattr(whole, name))


def test_results_say_their_shape_and_type_beforehand():
    image, probabilities = gray()
    arrays = ndc.refine_tiles(image, probabilities, NEAR, result=tiles.RESULTS, tile_memory=2 * MIB)
    for lazy, array in zip(arrays, dask.compute(*arrays), strict=True):
        assert lazy.shape == array.shape
        assert lazy.dtype == array.dtype
    assert_array_equal(arrays[0], arrays[1].argmax(axis=0))


class Counted:
    """An array that notes what is read of it."""

    chunks = (16, 16)

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.read = np.zeros(array.shape, int)

    def __getitem__(self, where):  # noqa: D105
        self.read[where] += 1
        return self.array[where]


def test_planning_reads_windows_and_a_tile_reads_its_surroundings(monkeypatch):
    image, probabilities = gray((512, 360))
    counted = Counted(image)
    monkeypatch.setattr(dask_arrays, "PIECE_BYTES", 256)
    labels = ndc.refine_tiles(counted, probabilities, NEAR, tile_memory=2 * MIB)
    assert 0 < (counted.read > 0).mean() < 0.7
    counted.read[:] = 0
    first = labels.blocks[0, 0].compute()
    assert 0 < (counted.read > 0).mean() < 0.3
    assert not counted.read[first.shape[0] + 60 :].any()
    labels.compute()
    assert (counted.read > 0).all()


def test_an_array_that_has_slices_and_no_chunks_is_not_read_at_once():
    image, probabilities = gray((512, 360))
    counted = Counted(image)
    counted.chunks = None
    labels = ndc.refine_tiles(counted, probabilities, NEAR, tile_memory=2 * MIB)
    assert 0 < (counted.read > 0).mean() < 0.7
    assert_array_equal(labels.compute(), ndc.refine_tiles(image, probabilities, NEAR, tile_memory=2 * MIB).compute())


def test_zarr_to_zarr(tmp_path):
    image, probabilities = gray()
    source = zarr.create_array(tmp_path / "image.zarr", data=image, chunks=(64, 64))
    source_map = zarr.create_array(tmp_path / "map.zarr", data=probabilities, chunks=(2, 64, 64))
    ndc.refine_tiles(source, source_map, NEAR, tile_memory=2 * MIB).to_zarr(str(tmp_path / "labels.zarr"))
    written = zarr.open_array(tmp_path / "labels.zarr")[:]
    assert_array_equal(written, ndc.refine_tiles(image, probabilities, NEAR, tile_memory=2 * MIB))


@pytest.mark.slow
def test_the_same_bits_with_threads_and_processes():
    image, probabilities = gray()
    marginals = ndc.refine_tiles(image, probabilities, NEAR, result="marginals", tile_memory=2 * MIB)
    alone = marginals.compute(scheduler="synchronous")
    assert_array_equal(marginals.compute(scheduler="threads", num_workers=4), alone)
    assert_array_equal(marginals.compute(scheduler="processes", num_workers=2), alone)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numba
import napari_densecrf as ndc
from test_tiles import MIB, NEAR, gray
image, probabilities = gray()
lazy = ndc.refine_tiles(image, probabilities, NEAR, result="marginals", tile_memory=MIB)
marginals = lazy.compute(scheduler="threads", num_workers=6)
print(numba.threading_layer(), hashlib.sha256(marginals.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_many_threads_are_safe_under_every_threading_layer():
    running = {
        layer: subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "NUMBA_THREADING_LAYER": layer},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for layer in ("workqueue", "omp", "tbb")
    }
    found = {}
    for layer, process in running.items():
        said, complaints = process.communicate()
        if "No threading layer could be loaded" in complaints:
            continue
        assert process.returncode == 0, complaints
        used, bits = said.split()
        assert used == layer
        found[layer] = bits
    assert "workqueue" in found
    assert len(set(found.values())) == 1


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as started:
        yield started


@pytest.fixture
def client(cluster):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(cluster) as connected:
        connected.wait_for_workers(2)
        yield connected


@pytest.mark.slow
def test_a_cluster_of_two_processes_gives_the_same_bits(client):
    image, probabilities = gray()
    marginals = ndc.refine_tiles(image, probabilities, NEAR, result="marginals", tile_memory=2 * MIB)
    assert_array_equal(marginals.compute(), marginals.compute(scheduler="synchronous"))


@pytest.mark.slow
def test_workers_use_their_own_threads_only(client):
    assert client.submit(tile_tasks.fair_threads, pure=False).result() == 1
    assert tile_tasks.fair_threads() is None
    shares = dask.compute(
        *[dask.delayed(tile_tasks.fair_threads)() for _ in range(3)], scheduler="processes", num_workers=2
    )
    assert shares == (1, 1, 1)


@pytest.mark.slow
def test_nothing_listens_beyond_this_machine(client):
    pids = [os.getpid(), *client.run(os.getpid).values()]
    heard = {at.laddr.ip for pid in pids for at in psutil.Process(pid).net_connections("inet") if at.status == "LISTEN"}
    assert heard == {"127.0.0.1"}


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(client, cluster):
    image, probabilities = gray((512, 360))
    labels = ndc.refine_tiles(image, probabilities, NEAR, tile_memory=2 * MIB)
    assert labels.npartitions > 8
    victim = min(client.run(os.getpid).values())
    running = client.compute(labels)
    done = threading.Event()
    running.add_done_callback(lambda _: done.set())
    while not any(client.processing().values()):
        time.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    assert not done.is_set()
    assert_array_equal(running.result(timeout=100), labels.compute(scheduler="synchronous"))
    client.wait_for_workers(2, timeout=60)
    assert victim not in client.run(os.getpid).values()


def test_a_plan_is_one_readable_line_and_frozen():
    image, probabilities = gray()
    plan = ndc.plan_tiles(image, probabilities, NEAR, tile_memory=2 * MIB)
    assert str(plan).startswith(f"300 x 260 pixels in {plan.n_tiles} tiles of ")
    assert "\n" not in str(plan)
    assert plan.tile_bytes <= 2 * MIB
    with pytest.raises(FrozenInstanceError):
        plan.halo = (0, 0)
    covered = np.zeros(plan.shape, int)
    for _, tile in plan.tiles():
        covered[tile.inner] += 1
        assert covered[tile.outer][tile.cut].shape == covered[tile.inner].shape
    assert (covered == 1).all()


def test_a_wider_kernel_and_more_agreement_take_a_wider_halo():
    image, probabilities = gray((500, 360))

    def halo(params, **options):
        return ndc.plan_tiles(image, probabilities, params, tile_memory=5 * MIB, **options).halo[0]

    wider = CRFParams(kernels(6, 10.0, 12.0, 2.0, 1.5))
    longer = CRFParams(NEAR.kernels, n_iterations=20)
    assert halo(wider) > halo(NEAR)
    assert halo(longer) > halo(NEAR)
    assert halo(NEAR, agreement=0.9999) > halo(NEAR)
    assert halo(CRFParams((PairwiseKernel(0.0, 10.0, 12.0), *NEAR.kernels))) == halo(NEAR)
    flat = ndc.plan_tiles(np.zeros_like(image), probabilities, NEAR, tile_memory=5 * MIB)
    assert flat.halo[0] <= halo(NEAR)


def test_axes_that_are_not_cut_have_no_halo():
    image, probabilities = volume()
    plan = ndc.plan_tiles(image, probabilities, CRFParams(kernels(4, 4.0, 40.0)), tile_memory=12 * MIB)
    assert [side < size for side, size in zip(plan.tile_shape, plan.shape, strict=True)] == [h > 0 for h in plan.halo]
    assert 0 in plan.halo


@pytest.mark.slow
def test_too_little_memory_says_what_is_needed():
    image, probabilities = gray()
    with pytest.raises(MemoryError, match=r"with its halo of .* above the 0.0 GiB of tile_memory: allow more"):
        ndc.refine_tiles(image, probabilities, NEAR, tile_memory=1000)


@pytest.mark.slow
def test_a_tile_takes_no_more_memory_than_its_plan_says():
    script = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import napari_densecrf as ndc
from test_tiles import NEAR, gray

def memory(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

image, probabilities = (np.tile(array, (4, 4)) for array in gray((512, 360)))
ndc.refine(image[:64, :64], probabilities[:, :64, :64], NEAR)
plan = ndc.plan_tiles(image, probabilities, NEAR)
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
ndc.refine_tiles(image, probabilities, NEAR, plan=plan).compute()
print(plan.n_tiles, (memory("VmHWM") - before) / plan.tile_bytes)
"""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("reads Linux's account of memory")
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    n_tiles, share = done.stdout.split()
    assert n_tiles == "1"
    assert 0.4 < float(share) < 1.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"probabilities": np.zeros((2, 300, 250), np.float32)},
            r"shape \(2, 300, 250\): expected \(n_labels, 300, 260",
        ),
        ({"probabilities": np.zeros((300, 260), bool)}, "probabilities_from_labels"),
        ({"probabilities": np.eye(300, 260, dtype=np.uint8)}, "only 0 and 1 as uint8"),
        ({"strokes": np.zeros((300, 250), int)}, r"strokes have shape \(300, 250\)"),
        ({"spacing": (1.0, 2.0, 3.0)}, "spacing has 3 numbers: expected 2"),
        ({"channel_axis": 0}, r"expected \(n_labels, 260\)"),
        ({"params": CRFParams(compatibility=1 - np.eye(3))}, r"expected \(2, 2\)"),
        ({"params": CRFParams((PairwiseKernel(1, (1, 2, 3)),))}, "position_sigma has 3 numbers"),
        ({"agreement": 1.0}, "agreement is 1.0: expected"),
        ({"result": "label"}, "result is 'label': expected labels, marginals, entropy"),
    ],
)
def test_what_shapes_show_is_refused_before_any_work(change, words):
    image, probabilities = gray()
    arguments = {"image": image, "probabilities": probabilities, "params": NEAR, **change}
    with pytest.raises(ValueError, match=words):
        ndc.refine_tiles(**arguments)


def test_what_values_show_is_said_with_its_tile():
    image, probabilities = gray()
    probabilities[0, 289, 249] = np.nan
    labels = ndc.refine_tiles(image, probabilities, NEAR, tile_memory=2 * MIB)
    labels.blocks[0, 0].compute()
    with pytest.raises(ValueError, match=r"in the tile \[.*:300, .*:260\]: the probabilities have NaN at 1 of"):
        labels.compute()
