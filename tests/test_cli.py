"""The command line, in process and as a process."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(3), (20, 24)), -1, 0).astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb")
    np.save(tmp_path / "map.npy", probabilities)
    return tmp_path, image, probabilities


def run(folder, *options):
    return main(["refine", str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / "out.tif"), *options])


def test_options_are_the_parameters(files):
    folder, image, probabilities = files
    numbers = ["--appearance-weight", "4", "--appearance-position-sigma", "5,6", "--appearance-intensity-sigma", "20"]
    numbers += ["--smoothness-weight", "1", "--smoothness-position-sigma", "2", "--iterations", "3", "--damping", "0.2"]
    assert run(folder, *numbers) == 0
    params = CRFParams((PairwiseKernel(4, (5, 6), 20), PairwiseKernel(1, 2)), n_iterations=3, damping=0.2)
    expected = ndc.refine(image, probabilities, params, channel_axis=-1).labels
    written = tifffile.imread(folder / "out.tif")
    np.testing.assert_array_equal(written, expected)
    assert written.dtype == np.uint8
    assert sorted(path.name for path in folder.iterdir()) == ["image.tif", "map.npy", "out.tif"]


def test_a_params_file_is_what_crfparams_writes(files):
    folder, image, probabilities = files
    params = CRFParams((PairwiseKernel(2, 4, 30),), compatibility=1 - np.eye(3), n_iterations=2)
    (folder / "params.json").write_text(params.to_json())
    assert run(folder, "--params", str(folder / "params.json")) == 0
    expected = ndc.refine(image, probabilities, params, channel_axis=-1).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--damping", "2"], "damping is 2.0"),
        (["--params", "nowhere.json"], "nowhere.json"),
        (["--appearance-position-sigma", "1,2,3"], "position_sigma has 3 numbers"),
        (["--channel-axis", "0"], "expected (n_labels"),
        (["--strokes", "image.png"], ".png"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(files, capsys, options, words):
    folder, _, _ = files
    assert run(folder, *options) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "out.tif").exists()


def test_a_bad_params_file_is_named(files, capsys):
    folder, _, _ = files
    (folder / "params.json").write_text('{"iterations": 3}')
    assert run(folder, "--params", str(folder / "params.json")) == 2
    assert "unknown parameter 'iterations'" in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(files, capsys):
    folder, _, _ = files
    (folder / "image.tif").write_text("no image")
    assert run(folder) == 2
    assert "image.tif cannot be read" in capsys.readouterr().err


def test_it_imports_no_qt(files):
    folder, _, _ = files
    script = (
        "import sys; from napari_densecrf.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({name.split('.')[0] for name in sys.modules} & {'qtpy', 'PyQt6', 'napari', 'magicgui'}))"
    )
    arguments = ["refine", str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / "out.npy")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"
    assert np.load(folder / "out.npy").shape == (20, 24)


def test_demo_without_a_display_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["demo"]) == 2
    assert "xvfb-run" in capsys.readouterr().err
