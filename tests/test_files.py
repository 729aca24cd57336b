"""Files: what they say is understood, labels are written with it, and no half file looks whole."""

import json

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_array_equal

from files_written import written
from napari_densecrf import CRFParams, InputWarning, PairwiseKernel
from napari_densecrf.files.frames import lay_out
from napari_densecrf.files.read import BadInput, Contents, read
from napari_densecrf.files.target import Target
from napari_densecrf.files.write import FileSink
from napari_densecrf.large.tile_job import Piece

ome_zarr = pytest.importorskip("ome_zarr")

MILD = CRFParams((PairwiseKernel(4.0, 4.0, 20.0), PairwiseKernel(1.0, 1.0)))


def image_and_map(shape=(20, 24), n_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    return image, np.moveaxis(rng.dirichlet(np.ones(n_labels), shape), -1, 0).astype(np.float32)


def write_ilastik(path, array, axes, **attributes):
    """Write HDF5 as ilastik exports it."""
    tags = {"axes": [{"key": axis, "typeFlags": 2, "resolution": 0, "description": ""} for axis in axes]}
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("exported_data", data=array, chunks=True)
        dataset.attrs["axistags"] = json.dumps(tags)
        for name, value in attributes.items():
            dataset.attrs[name] = value


def write_ome_zarr(path, array, axes, scale, zarr_format=2):
    from ome_zarr.writer import write_multiscales_metadata

    kinds = {"t": "time", "c": "channel"}
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("0", data=array, chunks=tuple(min(size, 64) for size in array.shape))
    said = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in said:
        if axis["type"] == "space":
            axis["unit"] = "micrometer"
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    write_multiscales_metadata(group, datasets, axes=said)


# ---- reading


def test_ilastik_exports_are_understood(tmp_path):
    _, probabilities = image_and_map()
    exported = np.moveaxis(probabilities, 0, -1)[None, :, :, None]
    write_ilastik(
        tmp_path / "map.h5", exported, "tyxzc", axis_units='{"x": "nm", "y": "nm"}', class_names='["a", "b", "c"]'
    )
    contents = read(tmp_path / "map.h5")
    assert contents.axes == "TYXZC"
    assert contents.unit == "nm"
    assert contents.classes == ("a", "b", "c")
    frames = lay_out(Contents("image", np.zeros((20, 24))), contents)
    assert frames.has_classes
    assert_array_equal(frames.probabilities, probabilities)


def test_hdf5_with_several_datasets_names_them(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["raw"] = np.zeros((4, 5))
        file["volumes/label"] = np.ones((4, 5))
        file["raw"].attrs["element_size_um"] = [0.5, 0.25]
    with pytest.raises(BadInput, match=r"holds the datasets raw, volumes/label: expected one, or .*two\.h5/DATASET"):
        read(tmp_path / "two.h5")
    assert read(f"{tmp_path}/two.h5/volumes/label").pixels[0, 0] == 1
    assert read(f"{tmp_path}/two.h5/raw").sizes == {"Y": 0.5, "X": 0.25}


@pytest.mark.parametrize("suffix", [".tif", ".h5"])
def test_large_files_are_read_by_slices_in_any_process(tmp_path, monkeypatch, suffix):
    import pickle

    from napari_densecrf.files import read as files

    monkeypatch.setattr(files, "AT_ONCE_BYTES", 100)
    array = np.arange(6 * 20 * 24, dtype=np.uint16).reshape(6, 20, 24)
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": "ZYX"}, compression="zlib")
    else:
        write_ilastik(tmp_path / "a.h5", array, "zyx")
    pixels = pickle.loads(pickle.dumps(read(tmp_path / f"a{suffix}").pixels))
    assert isinstance(pixels, files.Slices)
    assert pixels.shape == array.shape
    assert_array_equal(pixels[2:4, 3:9, ::2], array[2:4, 3:9, ::2])


def test_tif_says_axes_and_pixel_sizes(tmp_path):
    array = np.zeros((3, 2, 8, 9), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        array,
        metadata={"axes": "ZCYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.5},
    )
    contents = read(tmp_path / "a.ome.tif")
    assert contents.axes == "ZCYX"
    assert contents.sizes == {"X": 0.2, "Y": 0.2, "Z": 1.5}
    tifffile.imwrite(
        tmp_path / "b.tif",
        array[:, 0],
        imagej=True,
        resolution=(5, 4),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )
    contents = read(tmp_path / "b.tif")
    assert contents.axes == "ZYX"
    assert contents.sizes == {"Z": 2.0, "Y": 0.25, "X": 0.2}
    assert contents.unit == "µm"


def test_ome_tif_of_several_images_and_units_tells_those_of_the_first(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        first = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 500}
        units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "nm"}
        file.write(np.zeros((3, 8, 9), np.uint8), metadata=first | units)
        file.write(np.zeros((8, 9), np.uint8), metadata={"axes": "YX", "PhysicalSizeX": 7})
    with pytest.warns(InputWarning, match="holds 2 images, of which the first is read"):
        contents = read(tmp_path / "a.ome.tif")
    assert (contents.axes, contents.unit) == ("ZYX", "µm")
    assert contents.sizes == pytest.approx({"X": 0.25, "Y": 0.25, "Z": 0.5})
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=True) as file:
        units["PhysicalSizeZUnit"] = "reference frame"
        file.write(np.zeros((3, 8, 9), np.uint8), metadata=first | units)
    assert read(tmp_path / "b.ome.tif").sizes == {"X": 0.25, "Y": 0.25}


def test_ome_zarr_says_axes_and_pixel_sizes(tmp_path):
    array = np.arange(2 * 30 * 40, dtype=np.uint8).reshape(2, 30, 40)
    write_ome_zarr(tmp_path / "a.ome.zarr", array, "cyx", [1, 0.5, 0.25])
    contents = read(tmp_path / "a.ome.zarr")
    assert (contents.axes, contents.sizes, contents.unit) == ("CYX", {"Y": 0.5, "X": 0.25}, "micrometer")
    assert_array_equal(contents.pixels[:], array)
    zarr.create_array(tmp_path / "plain.zarr", data=array)
    assert_array_equal(read(tmp_path / "plain.zarr").pixels[:], array)


def test_other_files_are_read_by_napari_plugins(tmp_path):
    from skimage import io

    pytest.importorskip("napari_builtins")
    array = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
    io.imsave(tmp_path / "a.png", array, check_contrast=False)
    assert_array_equal(read(tmp_path / "a.png").pixels, array)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tif", b"no image", "a.tif cannot be read"),
        ("a.npy", b"no image", "a.npy cannot be read"),
        ("a.h5", b"no image", "a.h5 cannot be read"),
        ("a.xyz", b"no image", "a.xyz ends in .xyz: expected .tif"),
        ("a.tif", None, "a.tif is no file"),
        ("a.h5", None, "a.h5 is no file"),
        ("a.zarr", None, "a.zarr is no folder"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=words) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


# ---- axes


def lay(image_shape, map_shape, image_axes=None, map_axes=None, **options):
    image = Contents("image.tif", np.zeros(image_shape, np.uint8), image_axes)
    return lay_out(image, Contents("map.tif", np.zeros(map_shape, np.float32), map_axes), **options)


@pytest.mark.parametrize(
    ("image", "probabilities", "options", "independent", "space", "n_classes"),
    [
        ((20, 24), (3, 20, 24), {}, "", "YX", 3),
        ((20, 24), (20, 24, 3), {}, "", "YX", 3),
        ((20, 24), (20, 24), {}, "", "YX", None),
        ((20, 24, 3), (2, 20, 24), {}, "", "YX", 2),
        ((1, 1, 20, 24, 1), (20, 24, 2), {"map_axes": "YXC"}, "", "YX", 2),
        ((5, 20, 24), (2, 5, 20, 24), {"axes": "ZYX"}, "", "ZYX", 2),
        ((5, 20, 24), (2, 5, 20, 24), {"axes": "TYX"}, "T", "YX", 2),
        ((5, 20, 24), (5, 2, 20, 24), {"image_axes": "TYX", "map_axes": "TCYX"}, "T", "YX", 2),
        ((6, 2, 5, 20, 24), (3, 6, 5, 20, 24), {"axes": "TCZYX"}, "T", "ZYX", 3),
        ((6, 2, 20, 24), (3, 6, 20, 24), {"image_axes": "TCYX"}, "T", "YX", 3),
        ((20, 24, 5), (20, 24, 5, 2), {"axes": "YXZ", "map_axes": "YXZC"}, "", "ZYX", 2),
        ((1, 20, 24), (2, 20, 24), {"image_axes": "ZYX"}, "Z", "YX", 2),
    ],
)
def test_axes_are_brought_to_one_order(image, probabilities, options, independent, space, n_classes):
    options = dict(options)
    map_axes = options.get("map_axes")
    frames = lay(image, probabilities, options.pop("image_axes", None), options.pop("map_axes", None), **options)
    assert map_axes is None or frames.has_classes
    assert (frames.independent, frames.space) == (independent, space)
    frame = frames.frame((0,) * len(frames.counts))
    assert frame.image.shape[: len(space)] == frame.probabilities.shape[frames.has_classes :]
    assert (frame.probabilities.shape[0] if frames.has_classes else None) == n_classes


def test_values_go_where_their_axes_say():
    rng = np.random.default_rng(0)
    image, probabilities = rng.random((6, 2, 5, 7)), rng.random((5, 7, 6, 3))
    frames = lay_out(Contents("i", image, "TCYX"), Contents("p", probabilities, "YXTC"))
    frame = frames.frame((4,))
    assert_array_equal(frame.image, np.moveaxis(image[4], 0, -1))
    assert_array_equal(frame.probabilities, np.moveaxis(probabilities[:, :, 4], -1, 0))


@pytest.mark.parametrize("image_axes", [None, "ZYX"])
def test_slices_or_volume_must_be_said(image_axes):
    with pytest.raises(
        BadInput, match="say --axes ZYX to refine it as a volume, or --axes TYX for each slice by itself"
    ):
        lay((5, 20, 24), (2, 5, 20, 24), image_axes)


# ---- writing


def target(path, **changes):
    values = {
        "path": path,
        "shape": (2, 700, 520),
        "dtype": np.dtype(np.uint8),
        "axes": "TYX",
        "tile_shape": (1, 384, 320),
        "sizes": {"Y": 0.5, "X": 0.25},
        "unit": "µm",
        "about": {"version": "1", "params": MILD.to_dict()},
        **changes,
    }
    return Target(**values)


def write_all(a_target, labels, stop_after=None):
    """Write labels tile by tile; return how many tiles were there before."""
    sink = FileSink(a_target)
    before = len(sink.open())
    written = 0
    for t in range(labels.shape[0]):
        for y in range(0, labels.shape[1], 384):
            for x in range(0, labels.shape[2], 320):
                key = f"{t}.{y}.{x}"
                if key in sink.done:
                    continue
                if written == stop_after:
                    return before
                inner = slice(y, min(y + 384, labels.shape[1])), slice(x, min(x + 320, labels.shape[2]))
                sink.write(Piece(key, (t,), inner, labels[(t, *inner)]))
                written += 1
    assert sink.areas() == dict(enumerate(np.bincount(labels.ravel()).tolist()))
    sink.finish()
    return before


LABELS = np.random.default_rng(1).integers(0, 5, (2, 700, 520)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.ome.tif", "a.ome.zarr"])
def test_labels_appear_when_they_are_whole_and_go_on_after_a_stop(tmp_path, name):
    path = tmp_path / name
    assert write_all(target(path), LABELS, stop_after=3) == 0
    assert not path.exists()
    # The line of a tile that was being noted counts for nothing.
    with (tmp_path / f".{name}.partial" / "tiles.txt").open("a") as journal:
        journal.write("1.384.320:0=17,5")
    assert write_all(target(path), LABELS) == 3
    assert_array_equal(written(path), LABELS)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_run_that_is_stopped_in_the_middle_of_a_line_twice_goes_on(tmp_path):
    path = tmp_path / "a.npy"
    write_all(target(path), LABELS, stop_after=1)
    for done in (1, 2, 3):
        with (tmp_path / ".a.npy.partial" / "tiles.txt").open("a") as journal:
            journal.write("1.384.320:0=17,5")
        assert write_all(target(path), LABELS, stop_after=1) == done
    assert write_all(target(path), LABELS) == 4
    assert_array_equal(written(path), LABELS)


def test_another_run_does_not_go_on_with_the_labels_of_one(tmp_path):
    path = tmp_path / "a.npy"
    write_all(target(path), LABELS, stop_after=3)
    assert write_all(target(path, about={"version": "2"}), LABELS) == 0


def test_axes_that_ome_zarr_cannot_have_are_said_before_any_work(tmp_path):
    shapes = {"shape": (1, 2, 700, 520), "tile_shape": (1, 2, 700, 520)}
    for axes in ("IJYX", "ITYX"):
        with pytest.raises(BadInput, match=rf"a\.ome\.zarr would have axes {axes}: OME-Zarr knows T first"):
            FileSink(target(tmp_path / "a.ome.zarr", axes=axes, **shapes)).open()
    assert not list(tmp_path.iterdir())
    sink = FileSink(target(tmp_path / "a.ome.zarr", axes="ZTYX", **shapes))
    sink.open()
    sink.write(Piece("0", (), (slice(None),) * 4, LABELS[None]))
    sink.finish()
    said = dict(zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs)["multiscales"][0]["axes"]
    assert [axis["type"] for axis in said] == ["space", "other", "space", "space"]


def test_labels_that_were_there_stay_until_the_new_are_whole(tmp_path):
    path = tmp_path / "a.ome.zarr"
    write_all(target(path), LABELS)
    write_all(target(path, about={"version": "2"}), LABELS + 1, stop_after=2)
    assert_array_equal(written(path), LABELS)
    write_all(target(path, about={"version": "2"}), LABELS + 1)
    assert_array_equal(written(path), LABELS + 1)


def test_tif_labels_have_axes_and_sizes(tmp_path):
    write_all(target(tmp_path / "a.ome.tif"), LABELS)
    contents = read(tmp_path / "a.ome.tif")
    assert (contents.axes, contents.sizes, contents.unit) == ("TYX", {"Y": 0.5, "X": 0.25}, "µm")
    write_all(target(tmp_path / "a.tif"), LABELS)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        said = file.shaped_metadata[0]
    assert CRFParams.from_dict(said["napari-densecrf"]["params"]) == MILD


def test_ome_zarr_labels_are_a_pyramid_that_ome_zarr_reads(tmp_path):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    write_all(target(tmp_path / "a.ome.zarr"), LABELS)
    node = next(iter(Reader(parse_url(tmp_path / "a.ome.zarr"))()))
    assert [level.shape for level in node.data] == [(2, 700, 520), (2, 350, 260), (2, 175, 130)]
    assert_array_equal(node.data[1], LABELS[:, ::2, ::2])
    assert [axis["name"] for axis in node.metadata["axes"]] == ["t", "y", "x"]
    scales = [one[0]["scale"] for one in node.metadata["coordinateTransformations"]]
    assert scales == [[1, 0.5, 0.25], [1, 1.0, 0.5], [1, 2.0, 1.0]]
    assert node.metadata["axes"][1]["unit"] == "micrometer"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_become_part_of_their_image(tmp_path, zarr_format):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    source = tmp_path / "a.ome.zarr"
    write_ome_zarr(source, LABELS, "tyx", [1, 0.5, 0.25], zarr_format)
    for _ in range(2):
        write_all(target(source / "labels" / "refined"), LABELS)
    nodes = list(Reader(parse_url(source))())
    assert any("refined" in str(node.zarr) for node in nodes)
    labels = zarr.open_group(source / "labels", mode="r")
    listed = dict(labels.attrs).get("ome", dict(labels.attrs))["labels"]
    assert listed == ["refined"]
    assert_array_equal(labels["refined"]["0"][:], LABELS)
    assert sorted(one.name for one in (source / "labels").iterdir() if one.is_dir()) == ["refined"]
