"""What was done in the window, as Python that does it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from napari.layers import Labels, Layer

from napari_densecrf._napari.problem.axes import FromStrokes, Problem, shape_of
from napari_densecrf._napari.problem.region import Region, whole_of
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.params import CRFParams, PairwiseKernel


def python_script(result: Result, strokes: Labels | None) -> str:
    """Return Python that gives ``labels``, the same as the window's, bit for bit.

    Layers that came from a tif or npy file are read from it; others through ``viewer``, as napari's console has it.
    """
    return "\n".join(_lines(result.request, result, strokes)) + "\n"


def _lines(request: Request, result: Result, strokes: Labels | None) -> Iterator[str]:
    problem, region = request.problem, request.read
    arguments = ["image", "probabilities", "params", f"spacing={tuple(map(float, request.spacing))!r}"]
    places = [f"spacing={tuple(map(float, request.spacing))!r}"]
    if problem.channel_axis is not None:
        arguments.append("channel_axis=-1")
        places.append("channel_axis=-1")
    yield "import numpy as np"
    if any(file_of(layer) for layer in (problem.image, *_map_layers(problem), *([strokes] if strokes else []))):
        yield "import tifffile"
    yield "import napari_densecrf as ndc"
    yield ""
    yield f"image = {_image(problem, region)}"
    if strokes is not None:
        yield f"strokes = {_taken(strokes, _squeezed(strokes, problem, region))}"
        arguments.append("strokes=strokes")
    yield from _map(problem, region, result, places)
    yield f"params = {_params(request.coupled(request.params))}"
    if region.z is not None or any(region.origin):
        yield f"probe = {_probe(problem, region)}"
        arguments += [f"origin={region.origin!r}", "probe=probe"]
    yield f"labels = ndc.refine({', '.join(arguments)}).labels"
    if request.region != region:
        yield f"labels = labels{_at(list(request.region.within(region)))}"
    values = result.inputs.values.tolist()
    if values != list(range(len(values))):
        yield f"labels = np.array({values})[labels]"


def _map(problem: Problem, region: Region, result: Result, places: list[str]) -> Iterator[str]:
    whole = [*region.leading, *region.slices]
    source = problem.map
    if isinstance(source, FromStrokes):
        yield f"probabilities = ndc.probabilities_from_strokes(image, strokes, {', '.join(places)})"
    elif isinstance(source, tuple):
        planes = ", ".join(_taken(layer, whole) for layer in source)
        yield f"probabilities = np.stack([{planes}])"
    elif isinstance(source, Labels):
        values = result.inputs.values.tolist()
        yield f"rough = np.searchsorted({values}, {_taken(source, whole)})"
        yield f"probabilities = ndc.probabilities_from_labels(rough, n_labels={len(values)})"
    elif problem.class_axis is None:
        yield f"probabilities = {_taken(source, whole)}"
    else:
        picks: list[Any] = list(whole)
        picks.insert(problem.class_axis, slice(None))
        gone = min(problem.class_axis, region.n_single)
        data = _taken(source, picks)
        moved = problem.class_axis - gone
        yield f"probabilities = {data if moved == 0 else f'np.moveaxis({data}, {moved}, 0)'}"


def _image(problem: Problem, region: Region) -> str:
    image = problem.image
    picks: list[Any] = [slice(None)] * len(shape_of(image))
    for axis, pick in zip(problem.spatial_axes, (*region.leading, *region.slices), strict=True):
        picks[axis] = pick
    if image.rgb:
        picks[-1] = slice(0, 3)
        return _taken(image, picks)
    text = _taken(image, picks)
    if problem.channel_axis is None:
        return text
    axis = problem.channel_axis - sum(one < problem.channel_axis for one in problem.spatial_axes[: region.n_single])
    return f"np.moveaxis({text}, {axis}, -1)"


def _probe(problem: Problem, region: Region) -> str:
    """Return the probe of the whole that a region is a part of."""
    whole = whole_of(problem, region)
    channels = "" if problem.channel_axis is None else ", channel_axis=-1"
    return f"ndc.take_probe({_image(problem, whole)}{channels})"


def _squeezed(strokes: Labels, problem: Problem, region: Region) -> list[Any]:
    picks: list[Any] = [*region.leading, *region.slices]
    if len(shape_of(strokes)) > len(problem.shape) and problem.bridged_axis is not None:
        picks.insert(problem.bridged_axis, 0)
    return picks


def _map_layers(problem: Problem) -> list[Layer]:
    return list(problem.map) if isinstance(problem.map, tuple) else [getattr(problem.map, "layer", problem.map)]


def _taken(layer: Layer, picks: list[Any]) -> str:
    """Return a layer's data and what is taken of it."""
    whole = [
        slice(None) if isinstance(pick, slice) and range(size)[pick] == range(size) else pick
        for pick, size in zip(picks, shape_of(layer), strict=True)
    ]
    return f"{_source(layer)}{_at(whole)}"


def _at(picks: list[Any]) -> str:
    """Return ``[3, :, 0:20:2]``, or nothing where all is taken."""
    return f"[{', '.join(_pick(pick) for pick in picks)}]" if any(pick != slice(None) for pick in picks) else ""


def _pick(pick: Any) -> str:
    if not isinstance(pick, slice):
        return str(pick)
    first, last = ("" if end is None else str(end) for end in (pick.start, pick.stop))
    return f"{first}:{last}" + (f":{pick.step}" if pick.step not in (None, 1) else "")


def _source(layer: Layer) -> str:
    path = file_of(layer)
    if path is None:
        return f"viewer.layers[{layer.name!r}].data{'[0]' if layer.multiscale else ''}"
    reader = "np.load" if path.suffix == ".npy" else "tifffile.imread"
    return f"{reader}({str(path)!r})"


def file_of(layer: Layer) -> Path | None:
    """Return the tif or npy file that holds just this layer's data, if there is one."""
    path = Path(layer.source.path) if layer.source.path else None
    if path is None or layer.multiscale or not path.is_file():
        return None
    shape: tuple[int, ...] | None = None
    if path.suffix == ".npy":
        shape = np.load(path, mmap_mode="r").shape
    elif path.suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            shape = file.series[0].shape
    return path if shape == shape_of(layer) and not _painted_on(layer, path) else None


def _painted_on(layer: Layer, path: Path) -> bool:
    """Tell whether labels are no longer those of their file."""
    if not isinstance(layer, Labels):
        return False
    return not np.array_equal(np.load(path) if path.suffix == ".npy" else tifffile.imread(path), layer.data)


def _params(params: CRFParams) -> str:
    """Return the parameters as Python writes them, what is left at its default left out."""
    kernels = "".join(f"\n        {_kernel(kernel)}," for kernel in params.kernels)
    others = [f"n_iterations={params.n_iterations}"] + ([f"damping={params.damping}"] if params.damping else [])
    return f"ndc.CRFParams(\n    kernels=({kernels}\n    ),\n    {', '.join(others)},\n)"


def _kernel(kernel: PairwiseKernel) -> str:
    intensity = "" if kernel.intensity_sigma is None else f", intensity_sigma={kernel.intensity_sigma!r}"
    return f"ndc.PairwiseKernel(weight={kernel.weight!r}, position_sigma={kernel.position_sigma!r}{intensity})"
