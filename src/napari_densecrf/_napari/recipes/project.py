"""What is open and chosen, as a project that continues it on another day, and back to layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.layers._source import Source, layer_source
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.contributions.attributes import attributes_of, described
from napari_densecrf._napari.problem.axes import levels_of, shape_of
from napari_densecrf._napari.problem.problem import METADATA_KEY, FromStrokes, Misfit, layers_of_map
from napari_densecrf._napari.problem.request import Chosen
from napari_densecrf.files import project as files
from napari_densecrf.files.read import BadInput, read
from napari_densecrf.numbers import Numbers

from .python import sample_layers

IMAGE, MAP, STROKES = "image", "map", "strokes"
# In the metadata of a layer that was opened as a part of a project, until the widget has taken it in.
MARK = "napari-densecrf project"
# Larger arrays are known by their file alone.
HASHED_BYTES = 2**28


@dataclass
class Opened:
    """The layers of a project, and what there is to say of them.

    Parameters
    ----------
    path : Path
        Of the project.
    project : dict
        What its file says.
    layers : list of Layer
        In the order of the project.
    remarks : list of str
        Sentences for the user.
    """

    path: Path
    project: dict[str, Any]
    layers: list[Layer]
    remarks: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> dict[str, Any]:
        """What `Session.choose` takes."""
        by_role: dict[str, list[Layer]] = {}
        for said, layer in zip(self.project["layers"], self.layers, strict=True):
            for role in said["roles"]:
                by_role.setdefault(role, []).append(layer)
        images, maps, strokes = (by_role.get(role, []) for role in (IMAGE, MAP, STROKES))
        kinds = {"strokes": lambda: FromStrokes(maps[0]), "several": lambda: tuple(maps), "one": lambda: maps[0]}
        known = {one.name for one in fields(Chosen) if isinstance(one.default, (str, bool))}
        return {
            **{name: value for name, value in self.project["choices"].items() if name in known},
            # Several are the channels of one image.
            IMAGE: images[0] if len(images) == 1 else tuple(images) or None,
            MAP: kinds[self.project["map_is"]]() if maps else None,
            STROKES: next(iter(strokes), None),
        }

    def numbers(self, like: Numbers) -> Numbers:
        """Return the numbers of the sliders; those of a later version are ``like`` others."""
        return like.updated(self.project["numbers"])


def collected(
    path: Path, chosen: Chosen, numbers: Numbers, viewer: ViewerModel, edited: Callable[[Layer], bool]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what a project says, and the arrays that it stores.

    Parameters
    ----------
    path : Path
        Of the project.
    chosen : Chosen
    numbers : Numbers
    viewer : ViewerModel
    edited : callable
        Tells whether a layer's data have been replaced since they were read.

    Raises
    ------
    Misfit
        With one sentence, where there is no image, or a layer can be neither named nor stored.
    """
    if chosen.image is None:
        raise Misfit(words.OPEN_IMAGE)
    maps = [] if chosen.map is None else layers_of_map(chosen.map)
    images = chosen.channels or (chosen.image,)
    strokes = [] if chosen.strokes is None else [chosen.strokes]
    roles: dict[Layer, list[str]] = {}
    for role, layers in ((IMAGE, images), (MAP, maps), (STROKES, strokes)):
        for layer in layers:
            roles.setdefault(layer, []).append(role)
    stored: dict[str, NDArray[Any]] = {}
    said = [_said_of(layer, its, path, viewer, edited, stored) for layer, its in roles.items()]
    map_is = "strokes" if isinstance(chosen.map, FromStrokes) else "several" if isinstance(chosen.map, tuple) else "one"
    about = {
        "saved": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version_of_program": version("napari-densecrf"),
        "layers": said,
        "map_is": map_is,
        "numbers": {**numbers.as_dict(), "favours": list(numbers.favours)},
        "choices": {
            one.name: getattr(chosen, one.name) for one in fields(Chosen) if isinstance(one.default, (str, bool))
        },
        "step": [int(step) for step in viewer.dims.current_step],
    }
    return about, stored


def left_out(chosen: Chosen, viewer: ViewerModel) -> list[str]:
    """Return the names of layers that were made here, are kept nowhere, and are no part of a project."""
    return [
        layer.name
        for layer in viewer.layers
        if layer.metadata.get(METADATA_KEY, {}).get("frozen")
        and layer not in chosen.layers
        and layer.source.path is None
        and "file" not in layer.metadata[METADATA_KEY]
    ]


def _said_of(
    layer: Layer,
    roles: list[str],
    project: Path,
    viewer: ViewerModel,
    edited: Callable[[Layer], bool],
    stored: dict[str, NDArray[Any]],
) -> dict[str, Any]:
    """Describe one layer: where it is from, what it looks like, what tells its pixels from others."""
    _, attributes, kind = layer.as_layer_data_tuple()
    data, source = levels_of(layer)[0], layer.source
    known = isinstance(data, np.ndarray) and data.nbytes <= HASHED_BYTES
    said: dict[str, Any] = {
        "roles": roles,
        "look": described(attributes, kind),
        "shape": list(shape_of(layer)),
        "pixels": files.pixels_print(data) if known else None,
    }
    changed = edited(layer)
    if source.path and not changed and _holds(str(source.path), layer):
        alike = [one for one in viewer.layers if one.source.path == source.path]
        said |= {
            "file": files.relative(source.path, project),
            "reader": source.reader_plugin,
            "number": alike.index(layer),
            "print": files.file_print(Path(source.path)),
        }
    elif source.sample and not changed and isinstance(layer, Image):
        alike = [one for one in viewer.layers if one.source.sample == source.sample]
        said |= {"sample": list(source.sample), "number": alike.index(layer)}
    elif isinstance(data, np.ndarray):
        said["stored"] = files.stored_name(roles[0], data)
        stored[said["stored"]] = data
    else:
        raise Misfit(words.from_nowhere(layer.name))
    return said


def _holds(path: str, layer: Layer) -> bool:
    """Tell whether a file has the pixels of a layer: of labels all of them, of others as many as a part of it."""
    try:
        pixels = read(path).pixels
    except (BadInput, OSError, MemoryError):
        # Formats that only the plugin knows which read it.
        return Path(path).exists() and not isinstance(layer, Labels)
    shape = shape_of(layer)
    if isinstance(layer, Labels):
        same = tuple(one for one in pixels.shape if one > 1) == tuple(one for one in shape if one > 1)
        data = levels_of(layer)[0]
        return same and (not isinstance(data, np.ndarray) or np.array_equal(np.asarray(pixels).reshape(shape), data))
    if layer.source.reader_plugin == "napari":
        # Which makes one layer of a file by itself, whatever the user has made of it.
        return tuple(pixels.shape) == shape
    # Another reader may have made several layers of a file, one a channel.
    return prod(pixels.shape) % max(1, prod(shape)) == 0


# ---- and back


def opened(path: Path, have: Iterable[Layer] = ()) -> Opened:
    """Return the layers of a project: those that are open already, and new ones.

    Raises
    ------
    BadInput, OSError
        Where the project, or a file that it names, cannot be read.
    """
    project = files.load(path)
    found = Opened(path, project, [])
    try:
        for said in project["layers"]:
            layer = next((one for one in have if _is_same(one, said, path)), None)
            if layer is None:
                layer = _made(said, path)
            found.layers.append(layer)
            found.remarks += _remarks(layer, said, path)
        # What is wrong there is said before anything is opened.
        _ = found.chosen, found.numbers(Numbers())
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(words.damaged(path, error)) from None
    return found


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return the reader of projects, for File > Open and for files that are dropped; see the manifest."""
    paths = path if isinstance(path, list) else [path]
    ours = bool(paths) and all(one.lower().endswith(files.ENDING) for one in paths)
    return (lambda _: [layer for one in paths for layer in _marked(Path(one))]) if ours else None


def _marked(path: Path) -> Iterator[tuple[Any, dict[str, Any], str]]:
    """Yield the layers of a project as a reader gives them to napari, each with its number in the project."""
    for number, layer in enumerate(opened(path).layers):
        data, attributes, kind = layer.as_layer_data_tuple()
        mark = {"path": str(path), "number": number, "source": layer.source}
        yield data, {**attributes, "metadata": {**layer.metadata, MARK: mark}}, kind


def taken_in(layers: Iterable[Layer]) -> Opened | None:
    """Return the project whose layers napari has opened, once all of them are there; their marks are gone then."""
    layers = list(layers)
    marks = {layer: layer.metadata[MARK] for layer in layers if MARK in layer.metadata}
    for path in dict.fromkeys(mark["path"] for mark in marks.values()):
        project = files.load(Path(path))
        parts = {mark["number"]: layer for layer, mark in marks.items() if mark["path"] == path}
        if len(parts) == len(project["layers"]):
            ordered = [parts[number] for number in sorted(parts)]
            for layer in ordered:
                # Not the project, as napari says, but the file of its own.
                layer._source = layer.metadata.pop(MARK)["source"]
            found = Opened(Path(path), project, ordered)
            for said, layer in zip(project["layers"], ordered, strict=True):
                found.remarks += _remarks(layer, said, Path(path))
            return found
    return None


def _is_same(layer: Layer, said: Mapping[str, Any], project: Path) -> bool:
    """Tell whether an open layer is the one that a project speaks of."""
    if list(shape_of(layer)) != said["shape"] or MARK in layer.metadata:
        return False
    source: Source = layer.source
    if "sample" in said:
        return list(source.sample or ()) == said["sample"] and _has_pixels(layer, said) is not False
    if "file" not in said or source.path is None:
        return False
    return files.relative(source.path, project) == said["file"] and _kind(layer) == said["look"]["kind"]


def _made(said: Mapping[str, Any], project: Path) -> Layer:
    look = attributes_of(said["look"])
    kind = said["look"]["kind"]
    if "stored" in said:
        return Layer.create(files.read_stored(project, said["stored"]), look, kind)
    origin: dict[str, Any]
    candidates: Sequence[Layer]
    if "sample" in said:
        candidates, origin = _sample(*said["sample"]), {"sample": tuple(said["sample"])}
    else:
        path = files.absolute(said["file"], project)
        candidates, origin = _file(path, said["reader"]), {"path": str(path), "reader_plugin": said["reader"]}
    fitting = [layer for layer in candidates if list(shape_of(layer)) == said["shape"]]
    if not fitting:
        shapes = " and ".join(" x ".join(map(str, shape_of(layer))) for layer in candidates) or "nothing"
        wanted = " x ".join(map(str, said["shape"]))
        name = said.get("file") or said["look"]["name"]
        raise BadInput(words.another_shape(name, shapes, wanted))
    by_pixels = (layer for layer in fitting if said["pixels"] is not None and _has_pixels(layer, said))
    by_number = fitting[min(said["number"], len(fitting) - 1)]
    data, attributes, _ = next(by_pixels, by_number).as_layer_data_tuple()
    with layer_source(**origin):
        return Layer.create(data, {**look, "multiscale": attributes.get("multiscale", False)}, kind)


def _file(path: Path, reader: str | None) -> list[Layer]:
    """Open a file as napari does."""
    if not path.exists():
        raise BadInput(words.gone(path))
    try:
        return list(ViewerModel().open(str(path), plugin=reader))
    except Exception as error:
        raise BadInput(words.unreadable(path, reader, error)) from None


def _sample(plugin: str, key: str) -> Sequence[Layer]:
    try:
        return sample_layers(plugin, key)
    except KeyError:
        raise BadInput(words.no_sample(plugin, key)) from None


def _remarks(layer: Layer, said: Mapping[str, Any], project: Path) -> Iterator[str]:
    """Say what is not as it was."""
    has = _has_pixels(layer, said)
    if has is None and "file" in said:
        has = said["print"] == files.file_print(files.absolute(said["file"], project))
    if has is False:
        yield words.changed_since(layer.name)


def _has_pixels(layer: Layer, said: Mapping[str, Any]) -> bool | None:
    """Tell whether a layer's pixels are those that a project speaks of; None where that is not known."""
    data = levels_of(layer)[0]
    if said["pixels"] is None or not isinstance(data, np.ndarray):
        return None
    return files.pixels_print(data) == said["pixels"]


def _kind(layer: Layer) -> str:
    return "labels" if isinstance(layer, Labels) else "image"
