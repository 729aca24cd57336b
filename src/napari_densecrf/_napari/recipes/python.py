"""What was done in the window, as Python that does it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_densecrf._napari.problem.axes import LayerAxes, Pick, levels_of, shape_of
from napari_densecrf._napari.problem.problem import METADATA_KEY, NO_MASK, FromStrokes, Map, Problem, layers_of_map
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.problem.view import whole_of
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.blank import no_label
from napari_densecrf.crf.refine import Refinement
from napari_densecrf.params import CRFParams, PairwiseKernel


def python_script(result: Result, strokes: Labels | None) -> str:
    """Return Python that gives ``labels``, the same as the window's, bit for bit.

    Layers that came from a tif or npy file, or from a sample, are read from there; others through ``viewer``, as
    napari's console has it.
    """
    return "\n".join(_lines(result.request, result, strokes)) + "\n"


def _lines(request: Request, result: Result, strokes: Labels | None) -> Iterator[str]:
    problem, region = request.problem, request.read
    arguments = ["image", "probabilities", "params", f"spacing={tuple(map(float, request.spacing))!r}"]
    places = [f"spacing={tuple(map(float, request.spacing))!r}"]
    if problem.has_channels:
        arguments.append("channel_axis=-1")
        places.append("channel_axis=-1")
    yield "import numpy as np"
    layers = (*problem.image_layers, *layers_of_map(problem.map), *([strokes] if strokes is not None else []))
    if any(file_of(layer) for layer in layers):
        yield "import tifffile"
    if any(sample_number(layer) is not None for layer in layers):
        yield "from napari.components import ViewerModel"
    yield "import napari_densecrf as ndc"
    yield ""
    yield f"image = {_image(problem, region)}"
    if strokes is not None:
        yield f"strokes = {_taken(problem.axes_like_result(strokes), region)}"
        arguments.append("strokes=strokes")
    if problem.objects:
        yield from _objects(request, arguments[3:])
        return
    yield from _map(problem, region, result, places)
    yield f"params = {_params(request.coupled(request.params))}"
    if region.z is not None or any(region.origin):
        yield f"probe = {_probe(problem, region)}"
        arguments += [f"origin={region.origin!r}", "probe=probe"]
    yield f"labels = ndc.refine({', '.join(arguments)}).labels"
    if request.region != region:
        yield f"labels = labels{_at(list(request.region.within(region)))}"
    values = result.inputs.values.tolist()
    missing = isinstance(result.refinement, Refinement) and result.refinement.n_missing
    if values != list(range(len(values))) and missing:
        none = result.inputs.none
        named = f"np.array({values}, {result.inputs.dtype.name!r})[np.minimum(labels, {len(values) - 1})]"
        yield f"labels = np.where(labels == ndc.no_label(labels.dtype), {none}, {named})"
    elif values != list(range(len(values))):
        yield f"labels = np.array({values})[labels]"


def _objects(request: Request, arguments: list[str]) -> Iterator[str]:
    """Give the lines for objects."""
    problem, region = request.problem, request.read
    if problem.along:
        (axes,) = problem.map_axes
        on_image = problem.map_on_image(0)
        along = ", ".join(f"ndc.Along({one.scale!r}, {one.offset!r})" for one in problem.along)
        options = f"axes={tuple(on_image.axes or ())!r}, class_axis=None, none=0"
        yield f"on_image = ndc.MapOnImage({_source(axes.layer)}, {problem.shape!r}, ({along},), {options})"
        yield f"objects = on_image{_at([*region.leading, *region.slices])}"
    else:
        yield f"objects = {_taken(problem.map_axes[0], region)}"
    yield f"params = {_params(request.params)}"
    options = ", ".join([f"border={request.border!r}", "one_contrast=True", *arguments])
    yield f"labels = ndc.refine_objects(image, objects, params, {options}).labels"
    if request.region != region:
        yield f"labels = labels{_at(list(request.region.within(region)))}"


def _map(problem: Problem, region: Region, result: Result, places: list[str]) -> Iterator[str]:
    source = problem.map
    if isinstance(source, FromStrokes):
        yield f"probabilities = ndc.probabilities_from_strokes(image, strokes, {', '.join(places)})"
        return
    if problem.along:
        yield from _map_on_image(problem, region, result)
        return
    parts = [_taken(axes, region, vector_to=0) for axes in problem.map_axes]
    if isinstance(source, tuple) and isinstance(source[0], Labels):
        yield f"probabilities = ndc.probabilities_from_masks(np.stack([{', '.join(parts)}]))"
    elif isinstance(source, tuple):
        yield f"probabilities = np.stack([{', '.join(parts)}])"
    elif isinstance(source, Labels):
        values = result.inputs.values.tolist()
        yield from _map_of_labels(source, parts[0], values)
    else:
        yield f"probabilities = {parts[0]}"


def _map_on_image(problem: Problem, region: Region, result: Result) -> Iterator[str]:
    """Give the lines for a map that has other pixels than the image."""
    source = problem.map
    is_rough = isinstance(layers_of_map(source)[0], Labels)
    values = result.inputs.values.tolist()
    sources = [_source(axes.layer) for axes in problem.map_axes]
    planes = [f"{one} != 0" for one in sources] if is_rough else sources
    data = f"np.stack([{', '.join(planes)}])" if isinstance(source, tuple) else sources[0]
    dtype = np.dtype(np.uint8) if isinstance(source, tuple) else levels_of(layers_of_map(source)[0])[0].dtype
    none = None
    if is_rough:
        none = NO_MASK if isinstance(source, tuple) else no_label(dtype, values)
    on_image = problem.map_on_image(none)
    along = ", ".join(f"ndc.Along({one.scale!r}, {one.offset!r})" for one in problem.along)
    options = f"axes={tuple(on_image.axes or ())!r}, class_axis={on_image.class_axis!r}, none={none!r}"
    yield f"on_image = ndc.MapOnImage({data}, {problem.shape!r}, ({along},), {options})"
    where = [*region.leading, *region.slices]
    part = f"on_image{_at(where if on_image.class_axis is None else [slice(None), *where])}"
    if not is_rough:
        yield f"probabilities = {part}"
    elif isinstance(source, tuple):
        yield f"probabilities = ndc.probabilities_from_masks(np.ma.masked_equal({part}, {none}))"
    else:
        yield from _map_of_labels(source, part, values, none)


def _map_of_labels(source: Map, part: str, values: list[int], uncovered: int | None = None) -> Iterator[str]:
    """Give the lines for a rough segmentation; of one that was kept, some pixels may have no label."""
    numbers = {layer.metadata.get(METADATA_KEY, {}).get("no_label") for layer in layers_of_map(source)}
    blanks = sorted(number for number in numbers | {uncovered} if number is not None)
    for number in blanks:
        part = f"np.ma.masked_equal({part}, {number})"
    if not blanks:
        yield f"rough = np.searchsorted({values}, {part})"
    else:
        yield f"rough = {part}"
        yield f"rough = np.ma.array(np.searchsorted({values}, rough.data), mask=np.ma.getmaskarray(rough))"
    yield f"probabilities = ndc.probabilities_from_labels(rough, n_labels={len(values)})"


def _image(problem: Problem, region: Region) -> str:
    """Return a region of the image, with its channels last."""
    parts = [_taken(axes, region, vector_to=-1) for axes in problem.all_image_axes]
    return f"np.stack([{', '.join(parts)}], axis=-1)" if problem.channels else parts[0]


def _probe(problem: Problem, region: Region) -> str:
    """Return the probe of the whole that a region is a part of."""
    channels = ", channel_axis=-1" if problem.has_channels else ""
    return f"ndc.take_probe({_image(problem, whole_of(problem, region))}{channels})"


def _taken(axes: LayerAxes, region: Region, *, vector_to: int = 0) -> str:
    """Return a region of a layer's data, its channels or classes moved to the first (0) or the last (-1) axis."""
    index = [
        slice(None) if isinstance(pick, slice) and range(size)[pick] == range(size) else pick
        for pick, size in zip(axes.of(region), shape_of(axes.layer), strict=True)
    ]
    text = f"{_source(axes.layer)}{_at(index)}"
    vector = axes.vector_in(region)
    stays = vector is None or vector == vector_to or (vector_to == -1 and axes.layer.rgb)
    return text if stays else f"np.moveaxis({text}, {vector}, {vector_to})"


def _at(picks: Sequence[Pick]) -> str:
    """Return ``[3, :, 0:20:2]``, or nothing where all is taken."""
    return f"[{', '.join(_pick(pick) for pick in picks)}]" if any(pick != slice(None) for pick in picks) else ""


def _pick(pick: Pick) -> str:
    if not isinstance(pick, slice):
        return str(pick)
    first, last = ("" if end is None else str(end) for end in (pick.start, pick.stop))
    return f"{first}:{last}" + (f":{pick.step}" if pick.step not in (None, 1) else "")


def _source(layer: Layer) -> str:
    path = file_of(layer)
    number = sample_number(layer)
    if number is not None:
        plugin, key = layer.source.sample
        return f"ViewerModel().open_sample({plugin!r}, {key!r})[{number}].data{'[0]' if layer.multiscale else ''}"
    if path is None:
        return f"viewer.layers[{layer.name!r}].data{'[0]' if layer.multiscale else ''}"
    reader = "np.load" if path.suffix == ".npy" else "tifffile.imread"
    return f"{reader}({str(path)!r})"


def sample_number(layer: Layer) -> int | None:
    """Return which layer of its sample a layer is, as long as it has the same pixels; None where it is of none."""
    if layer.source.sample is None or file_of(layer) is not None:
        return None
    data = levels_of(layer)[0]
    for number, other in enumerate(sample_layers(*layer.source.sample)):
        if shape_of(other) == shape_of(layer) and np.array_equal(levels_of(other)[0], data):
            return number
    return None


@lru_cache(maxsize=1)
def sample_layers(plugin: str, key: str) -> tuple[Layer, ...]:
    """Return the layers of a sample, as File > Open Sample gives them.

    Raises
    ------
    KeyError
        Where no such sample is installed.
    """
    return tuple(ViewerModel().open_sample(plugin, key))


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
    others += [f"label_bias={params.label_bias!r}"] if params.label_bias else []
    return f"ndc.CRFParams(\n    kernels=({kernels}\n    ),\n    {', '.join(others)},\n)"


def _kernel(kernel: PairwiseKernel) -> str:
    intensity = "" if kernel.intensity_sigma is None else f", intensity_sigma={kernel.intensity_sigma!r}"
    return f"ndc.PairwiseKernel(weight={kernel.weight!r}, position_sigma={kernel.position_sigma!r}{intensity})"
