"""What neighbouring tools write, as files: read right, or refused in one sentence with what to do.

A number beside a case is the public report of the tool that describes such files.
"""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main

Y, X = np.indices((64, 64))
TRUTH = (Y - 32) ** 2 + (X - 32) ** 2 < 20**2
IMAGE = (60 + 120 * TRUTH).astype(np.uint8)
RNG = np.random.default_rng(0)
ROUGH = TRUTH ^ (RNG.random(TRUTH.shape) < 0.1)
P = np.where(ROUGH, [[[0.3]], [[0.7]]], [[[0.7]], [[0.3]]]).astype(np.float32)
SOFT = np.clip(ndimage.gaussian_filter(TRUTH.astype(float), 3) + RNG.normal(0, 0.05, TRUTH.shape), 0.01, 0.99)
LABELS = ["--from-labels", "0.8"]
OPTIONS = ["--appearance-weight", "4", "--appearance-position-sigma", "8", "--appearance-intensity-sigma", "20"]
OPTIONS += ["--smoothness-weight", "1", "--smoothness-position-sigma", "2"]
PARAMS = CRFParams((PairwiseKernel(4, 8, 20), PairwiseKernel(1, 2)))
LUT = np.stack([np.arange(256)[::-1] * 257, np.arange(256) * 257, np.full(256, 9)]).astype(np.uint16)
THREE = np.stack([P[0], 0.6 * P[1], 0.4 * P[1]])


def tif(pixels, **options):
    return lambda path: tifffile.imwrite(path.with_suffix(".tif"), pixels, **options)


def npy(pixels):
    return lambda path: np.save(path.with_suffix(".npy"), pixels)


def npz(**arrays):
    return lambda path: np.savez_compressed(path.with_suffix(".npz"), **arrays)


def raw(name, content=b"\x00" * 64):
    return lambda path: path.with_name(name).write_bytes(content)


def refined_files(folder, capsys, image, source, *options):
    """Write an image and a map, each by its function, and refine them: exit code, what is said, labels."""
    names = []
    for stem, write in (("image", image), ("map", source)):
        before = set(folder.iterdir())
        write(folder / stem)
        (name,) = set(folder.iterdir()) - before
        names.append(str(name))
    code = main(["refine", *names, "-o", str(folder / "out.npy"), *OPTIONS, *options])
    out = folder / "out.npy"
    return code, capsys.readouterr().err, np.load(out) if out.exists() else None


COLOUR = np.dstack([IMAGE, IMAGE[::-1], 255 - IMAGE])

READ = {
    # The softmax of a network, with its own name in the zip (nnUNet #1438).
    "nnU-Net": (npy(IMAGE), npz(softmax=P), [], TRUTH),
    # A single slice has an axis of its own, after the classes (nnUNet #620).
    "nnU-Net, one slice": (npy(IMAGE[None]), npz(probabilities=P[:, None].astype(np.float16)), [], TRUTH),
    "ilastik, tzyxc": (tif(IMAGE), npy(np.moveaxis(P, 0, -1)[None, None]), [], TRUTH),
    "ilastik, 16 bit": (tif(IMAGE), tif(np.round(P * 65535).astype(np.uint16), photometric="minisblack"), [], TRUTH),
    # Labkit and Fiji write classes as channels of a hyperstack, other programs as its slices or frames.
    "hyperstack, C": (tif(IMAGE), tif(P, imagej=True, metadata={"axes": "CYX"}), [], TRUTH),
    "hyperstack, Z": (tif(IMAGE), tif(P, imagej=True, metadata={"axes": "ZYX"}), [], TRUTH),
    "hyperstack, T": (tif(IMAGE), tif(P, imagej=True, metadata={"axes": "TYX"}), [], TRUTH),
    "big-endian": (tif(IMAGE.astype(np.uint16), byteorder=">"), tif(P, byteorder=">"), [], TRUTH),
    "float16": (npy((IMAGE / 256).astype(np.float16)), npy(P.astype(np.float16)), [], None),
    "12 bit": (tif(IMAGE.astype(np.uint16) * 16), tif(P), ["--appearance-intensity-sigma", "320"], TRUTH),
    "negative intensities": (npy(IMAGE.astype(np.int16) - 1000), npy(P), [], TRUTH),
    # 16 bits a colour (napari #924).
    "48-bit RGB": (tif(COLOUR.astype(np.uint16), photometric="rgb"), tif(P), [], None),
    "time series of one channel": (
        tif(np.stack([IMAGE] * 3)[:, None], imagej=True, metadata={"axes": "TCYX"}),
        tif(np.stack([P] * 3), imagej=True, metadata={"axes": "TCYX"}),
        [],
        np.stack([TRUTH] * 3),
    ),
    "time series, map without its channel": (
        tif(np.stack([IMAGE] * 3)[:, None], imagej=True, metadata={"axes": "TCYX"}),
        npy(np.stack([SOFT] * 3)),
        [],
        np.stack([TRUTH] * 3),
    ),
    "a class that is nowhere": (npy(IMAGE), npy(np.concatenate([P, np.zeros_like(P[:1])])), [], TRUTH),
    "8 bit, rounded": (npy(IMAGE), npy(np.round(THREE * 255).astype(np.uint8)), [], None),
    # Segmentations, said to be so.
    "ilastik, one image a class": (tif(IMAGE), tif(ROUGH.astype(np.uint8)), LABELS, TRUTH),
    # Labels with a palette are indices all the same (qupath #993).
    "QuPath, LUT": (tif(IMAGE), tif(ROUGH * np.uint8(2), photometric="palette", colormap=LUT), LABELS, 2 * TRUTH),
    # Black and white is 255 and 0 in ImageJ's masks, whose LUT is inverting (cellpose #9).
    "ImageJ, inverting LUT": (tif(IMAGE), tif(ROUGH * np.uint8(255), photometric="miniswhite"), LABELS, 255 * TRUTH),
    # One bit a pixel; some programs turn it round (imageio #355).
    "one bit": (tif(IMAGE), tif(ROUGH), LABELS, TRUTH),
    # Binary images as floats (napari-itk-io #10).
    "floats": (tif(IMAGE), tif(ROUGH.astype(np.float32)), LABELS, TRUTH),
    "CellProfiler, uint16": (tif(IMAGE), tif(ROUGH * np.uint16(3)), LABELS, 3 * TRUTH),
    # Spread over 0 to 255 on export (ilastik #1127).
    "ilastik, renormalised": (tif(IMAGE), tif(np.where(ROUGH, 255, 127).astype(np.uint8)), LABELS, 127 + 128 * TRUTH),
    "labels of 64 bit": (tif(IMAGE), npy(ROUGH * np.int64(2**40)), LABELS, TRUTH * np.int64(2**40)),
}


@pytest.mark.parametrize("kind", READ)
def test_what_tools_write_is_read_right(tmp_path, capsys, kind):
    image, source, options, truth = READ[kind]
    code, said, labels = refined_files(tmp_path, capsys, image, source, *options)
    assert code == 0, said
    if truth is not None:
        assert labels.shape == truth.shape
        assert (labels == truth).mean() > 0.98
        assert set(np.unique(labels)) <= set(np.unique(truth))
        return
    expected = {
        "float16": lambda: ndc.refine((IMAGE / 256).astype(np.float16), P.astype(np.float16), PARAMS),
        "48-bit RGB": lambda: ndc.refine(COLOUR.astype(np.uint16), P, PARAMS, channel_axis=-1),
        "8 bit, rounded": lambda: ndc.refine(IMAGE, np.round(THREE * 255).astype(np.uint8), PARAMS),
    }[kind]()
    np.testing.assert_array_equal(labels, expected.labels)


@pytest.mark.parametrize("kind", ["last", "first"])
def test_channels_first_or_last_are_the_same(tmp_path, capsys, kind):
    image = COLOUR if kind == "last" else np.moveaxis(COLOUR, -1, 0)
    code, said, labels = refined_files(tmp_path, capsys, npy(image), npy(P))
    assert code == 0, said
    np.testing.assert_array_equal(labels, ndc.refine(COLOUR, P, PARAMS, channel_axis=-1).labels)


OBJECTS = {"masks": ROUGH.astype(np.uint16), "outlines": ROUGH, "flows": [P]}

REFUSED = {
    # A dictionary in a pickle (cellpose #800).
    "Cellpose": (npy(np.array(OBJECTS, object)), "holds Python objects, as Cellpose's _seg.npy does"),
    # Logits of the foreground, called cell probability (cellpose #542).
    "Cellpose, cellprob": (npy((12 * SOFT - 6).astype(np.float32)), "the sigmoid function to a foreground map"),
    "several arrays": (npz(prob=P, dist=SOFT), "holds the arrays prob, dist of an .npz: expected one array"),
    "StarDist": (raw("map.zip", b"PK\x05\x06" + bytes(18)), "map.zip ends in .zip: expected .tif"),
    "Imaris": (raw("map.ims"), "ends in .ims"),
    "CZI": (raw("map.czi", b"ZISRAWFILE" + bytes(50)), "ends in .czi"),
    "NIfTI": (raw("map.nii.gz"), "map.nii.gz"),
    "ilastik, renormalised": (npy(np.where(ROUGH, 255, 127).astype(np.uint8)), "--from-labels 0.9"),
    "ilastik, three renormalised": (npy(np.where(ROUGH, 255, 127 * (X > 40)).astype(np.uint8)), "--from-labels 0.9"),
    "QuPath, LUT": (tif(ROUGH * np.uint8(2), photometric="palette", colormap=LUT), "--from-labels 0.9"),
    "ImageJ, inverting LUT": (tif(ROUGH * np.uint8(255), photometric="miniswhite"), "--from-labels 0.9"),
    "one bit": (tif(ROUGH), "--from-labels 0.9"),
    "floats": (tif(ROUGH.astype(np.float32)), "--from-labels 0.9"),
    "percent": (npy((100 * SOFT).astype(np.float32)), "divide it by 100"),
    "signed 8 bit": (npy(np.round(127 * SOFT).astype(np.int8)), "divide it by"),
    "uint32 of 8 bit": (npy(np.round(255 * P).astype(np.uint32)), "divide it by 255"),
    # Distances to the background, as some networks give beside the foreground.
    "distances": (npy(ndimage.distance_transform_edt(TRUTH).astype(np.float32)), "map"),
    "complex": (npy(P.astype(np.complex64)), "complex64"),
    "text": (npy(np.full((64, 64), "cell")), "<U4"),
    "times": (npy(np.zeros((64, 64), "M8[s]")), "datetime64"),
    "records": (npy(np.zeros((64, 64), [("a", "u1"), ("b", "f4")])), "map"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_map_is_one_sentence(tmp_path, capsys, kind):
    source, words = REFUSED[kind]
    code, said, labels = refined_files(tmp_path, capsys, tif(IMAGE), source)
    assert code == 2
    assert labels is None
    assert words in said
    # In one line, without a traceback.
    assert said.count("\n") == 1
    assert len(said) < 500


def test_foreground_and_distances_are_said_to_be_no_classes(tmp_path, capsys):
    """Micro-sam's and StarDist's planes: each from 0 to 1, with no common sum."""
    near = ndimage.distance_transform_edt(TRUTH)
    planes = np.stack([SOFT, near / near.max(), 1 - near / near.max()]).astype(np.float32)
    code, said, _ = refined_files(tmp_path, capsys, npy(IMAGE), npy(planes))
    assert code == 0
    assert "sum" in said
