"""A long run and a slider at once, under the layer of Numba that aborts when two kernels run in parallel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
import napari_densecrf as ndc
from hand_loop import HandLoop
from napari_densecrf._napari.runs.in_memory import start_in_memory
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.work.runner import Listener, Runner

rng = np.random.default_rng(0)
image = rng.integers(0, 255, (12, 96, 100)).astype(np.uint8)
probabilities = np.moveaxis(rng.dirichlet(np.ones(3), image.shape), -1, 0).astype(np.float32)
viewer, loop = ViewerModel(), HandLoop()
viewer.add_layer(Image(image, name="image"))
viewer.add_layer(Image(probabilities, name="map"))
session = Session(viewer, loop)
session.start()
loop.turn_until(lambda: session.idle and session.result is not None)
request = session.request()
with session.writing():
    run = start_in_memory(request, session.result.inputs, None, viewer)
done, results = [], []
runner = Runner(loop, "long run", warns=False)
session.result_written.connect(results.append)
runner.submit(run.steps, Listener(done.append, run.take, done.append))
moves = iter(np.linspace(1, 30, 100_000))

def drag():
    # A new reach at every turn of the loop: a lattice is built for each that is refined.
    session.set_numbers(session.numbers.changed(appearance_position_sigma=float(next(moves))), by=USER)
    return bool(done)

loop.turn_until(drag)
loop.turn_until(lambda: session.idle)
assert done == [run], done
assert len(results) > 1
run.finish(0.0)
for z in range(len(image)):
    expected = ndc.refine(image[z], probabilities[:, z], request.params).labels
    assert np.array_equal(run.destination.layer.data[z], expected), z
session.close()
runner.close()
print("both are right")
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [2, 4])
def test_a_long_run_and_a_slider_at_once(n_threads):
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {
        "NUMBA_THREADING_LAYER": "workqueue",
        "NUMBA_NUM_THREADS": str(n_threads),
        "PYTHONPATH": path,
    }
    ran = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "both are right" in ran.stdout
