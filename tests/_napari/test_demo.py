"""The command that most people run first."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from skimage.io import imread


@pytest.mark.slow
def test_the_demo_refines_the_sample_and_leaves_a_picture_and_labels(tmp_path):
    picture, labels = tmp_path / "demo.png", tmp_path / "refined.tif"
    command = [sys.executable, "-m", "napari_densecrf.cli", "demo", "--screenshot", picture, "--labels", labels]
    environment = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "XDG_CONFIG_HOME": str(tmp_path)}
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split("\n") == [f"wrote {labels}", f"wrote {picture}", ""]
    refined = tifffile.imread(labels)
    assert refined.shape == (512, 512)
    # All of it is refined: no pixel is left without a class.
    assert set(np.unique(refined)) == {0, 1, 2}
    shown = imread(picture)[..., :3]
    height, width = shown.shape[:2]
    assert height >= 400
    assert width > height
    # The sample and its classes are in the middle.
    middle = shown[height // 4 : 3 * height // 4, 2 * width // 5 : 3 * width // 5].reshape(-1, 3)
    assert len(np.unique(middle, axis=0)) > 1000
