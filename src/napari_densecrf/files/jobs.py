"""One refinement from files to files: options, checks, and the job that does it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.blank import label_type, without
from napari_densecrf.choose.start import first_params
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.axes import MAX_CLASSES
from napari_densecrf.door.missing import share_words
from napari_densecrf.door.refusals import COMMAND, refusal, refusal_of_objects
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import FEW_VALUES, NO_NUMBER, Kind
from napari_densecrf.large.dask_arrays import classes_in, labels_in, lazy, map_of_labels
from napari_densecrf.large.job import Job, first_plan
from napari_densecrf.large.object_job import ObjectJob, choose_for
from napari_densecrf.large.scheduling import least_worker_memory
from napari_densecrf.large.tile_job import Progress
from napari_densecrf.large.tiling import GIB, TILE_MEMORY, TilePlan
from napari_densecrf.params import CRFParams

from . import places
from .frames import Frames, lay_out
from .places import Use, image_of_labels
from .read import BadInput, Contents, read
from .resampled import on_image
from .target import Target, check_path, is_zarr
from .write import FileSink, summary

FROM_FILE = "file"


def as_they_are(params: CRFParams) -> CRFParams:
    """Return parameters as they are."""
    return params


@dataclass(frozen=True)
class ObjectOptions:
    """What a refinement of objects is told besides.

    Parameters
    ----------
    border : float, optional
        How far borders may be off, in the unit of the spacing. None = chosen from image and objects.
    chosen : bool
        Parameters are chosen from image and objects; those of `Options` do not count.
    adapt : callable
        Puts single numbers in the place of those that are chosen.
    one_contrast : bool, optional
        Whether the image is brought to one contrast first. None = where parameters are chosen.
    foreground : str, optional
        File of the probability of any object.
    """

    border: float | None = None
    chosen: bool = True
    adapt: Callable[[CRFParams], CRFParams] = as_they_are
    one_contrast: bool | None = None
    foreground: str | None = None


@dataclass(frozen=True)
class Options:
    """Everything that a refinement of files is told besides their names.

    Parameters
    ----------
    params : CRFParams
    chosen : bool
        Parameters are chosen from the image and its map; those of ``params`` do not count.
    adapt : callable
        Puts single numbers in the place of those that are chosen.
    axes, map_axes : str, optional
        Letters of the axes, in place of what the files say.
    channel_axis : int, optional
    spacing : tuple of float, float, "file" or None
        Pixel sizes in the unit of the position sigmas; "file" = what the image's file says, None = pixels.
    confidence : float, optional
        Where the map is a rough segmentation: how probable its classes are.
    tile_memory : int
        Bytes.
    address : str, optional
        Of a scheduler of `dask.distributed`.
    time_sigma : float, optional
        Reach of the kernels in time, in frames; None = frames have nothing to do with each other.
    marginals : Path, optional
        Where the marginals go.
    marginals_dtype : str
        float32, or uint8: 255ths.
    params_path : str, optional
        The file that the parameters came from.
    is_one_of_many : bool
        Whether nobody looks at this map: it must sum to one then.
    objects : ObjectOptions, optional
        The map is objects, each a label of its own.
    """

    params: CRFParams
    axes: str | None = None
    map_axes: str | None = None
    channel_axis: int | None = None
    spacing: Any = None
    confidence: float | None = None
    tile_memory: int = TILE_MEMORY
    address: str | None = None
    time_sigma: float | None = None
    marginals: Path | None = None
    marginals_dtype: str = "float32"
    params_path: str | None = None
    is_one_of_many: bool = False
    objects: ObjectOptions | None = None
    chosen: bool = False
    adapt: Callable[[CRFParams], CRFParams] = as_they_are

    @property
    def model(self) -> CRFParams:
        """The parameters of the axes that are refined together."""
        return self.params if self.time_sigma is None else self.params.coupled_in_time(self.time_sigma)


@dataclass(frozen=True, eq=False)
class FileJob:
    """A job from files to files. Everything is checked but the values of the pixels.

    Parameters
    ----------
    inputs : tuple of Contents
        Image, map, strokes if there are any.
    options : Options
    job : Job or ObjectJob
    labels : FileSink
    marginals : FileSink, optional
    """

    inputs: tuple[Contents, ...]
    options: Options
    job: Job | ObjectJob
    labels: FileSink
    marginals: FileSink | None = None

    def run(self) -> Iterator[Progress]:
        """Run the job; one that was stopped goes on where it was."""
        yield from self.job.run()
        if self.missing:
            warnings.warn(f"{self.inputs[0].path}: {self.missing}", InputWarning, 2)

    @property
    def missing(self) -> str:
        """How many pixels have no value, of a job that is done; empty for none."""
        target, n_missing = self.labels.target, self.labels.n_missing
        share = share_words(n_missing / math.prod(target.shape))
        part = f"{share} of the pixels have no value and take no part; they are {target.no_label} in the labels"
        return part if n_missing else ""

    @property
    def choice(self) -> str:
        """How far borders of objects may be off, and how that came about."""
        assert isinstance(self.job, ObjectJob)
        unit = self.inputs[0].unit if self.options.spacing == FROM_FILE else None
        if self.options.spacing is None:
            unit = "pixels"
        why = f": {self.job.why}" if self.job.why else ""
        return f"borders may be off by {self.job.common.border:.3g}{f' {unit}' if unit else ''}{why}"

    @property
    def outcome(self) -> str:
        """What became of the objects, of a job that is done."""
        counts = summary(self.labels.report())
        held = f"; {counts['held']:,} left as they were, as the image does not tell them" if counts["held"] else ""
        return f"{counts['objects']:,} objects, {counts['changed']:,} changed{held}"

    def describe(self) -> str:
        """Return a few lines: what will be read and written, and the memory and time it takes."""
        job, n_frames = self.job, self.job.n_frames
        targets = [sink.target for sink in (self.labels, self.marginals) if sink is not None]
        lines = [f"reads   {contents}" for contents in self.inputs]
        lines += [f"writes  {one.path}: {_words(one.shape)} {one.axes} {one.dtype}" for one in targets]
        lines.append(f"refines {f'{n_frames} frames, each ' if n_frames > 1 else ''}{job.plan}")
        if n_frames > 1:
            seconds = n_frames * job.plan.predicted_seconds
            lines.append(f"in all  about {seconds:.0f} s, reading and writing left out")
        sigma_unit = "pixels" if job.spacing is None else f"pixels of {job.spacing}"
        if isinstance(job, ObjectJob):
            lines.append(f"objects {self.choice}")
        lines.append(f"sigmas  in {sigma_unit}{'' if self.options.time_sigma is None else ', in time in frames'}")
        return "\n".join(lines)


def prepare(
    image: str, probabilities: str, output: str | Path, options: Options, strokes: str | None = None
) -> FileJob:
    """Open the files, fit their axes, and plan.

    Raises
    ------
    BadInput, ValueError, MemoryError, OSError
        With one sentence that names what came and what is expected.
    """
    path = Path(output)
    check_path(path)
    if options.marginals is not None:
        check_path(options.marginals)
        if image_of_labels(options.marginals) is not None:
            raise BadInput(f"{options.marginals} is for labels: give the marginals a file of their own")
    if options.objects is not None:
        _check_object_options(options)
    places.check(inputs_of(image, probabilities, strokes, options), outputs_of(path, options))
    if os.path.realpath(image) == os.path.realpath(probabilities):
        raise BadInput(f"{image} is given as the image and as its map: expected two files")
    names = [image, probabilities] + ([] if strokes is None else [strokes])
    opened = [read(name) for name in names]
    for contents in opened:
        if contents.pixels.dtype.kind not in "biuf":
            raise BadInput(f"{contents.path} holds {contents.pixels.dtype} values: expected integers or floats")
    if options.axes is None and options.map_axes is None:
        # Letters that are given on the command line leave no names to compare sizes by.
        is_rough = options.confidence is not None or options.objects is not None
        opened[1] = on_image(opened[0], opened[1], rough=is_rough, none=None if options.objects is None else 0)
    inputs = tuple(opened)
    if options.objects is not None:
        return _prepare_objects(path, inputs, options, options.objects)
    frames = lay_out(
        *inputs,
        axes=options.axes,
        map_axes=options.map_axes,
        channel_axis=options.channel_axis,
        film=options.time_sigma is not None,
    )
    places.check_room(path, math.prod(frames.shape))
    if frames.image.dtype.kind == "f" and look_through(frames.image, None).why == NO_NUMBER:
        raise BadInput(f"{image} has no value at any pixel: all are NaN")
    frames = (
        _checked(frames, inputs[1], is_one_of_many=options.is_one_of_many and options.map_axes is None)
        if options.confidence is None
        else _from_labels(frames, inputs[1], options)
    )
    if frames.values is not None:
        # In the type of the file, whose largest number stands for pixels without a value.
        frames = replace(frames, values=frames.values.astype(_type_in(path, frames.values)))
    spacing = _spacing(options, inputs[0], frames.space)
    if options.chosen:
        options = replace(options, params=options.adapt(_first_params(frames, spacing, options)))
    problem, plan = first_plan(frames, options.model, spacing, options.tile_memory)
    if options.address is not None:
        _check_workers(plan, options.address)
    target = Target(
        path,
        frames.shape,
        label_type(problem.n_labels) if frames.values is None else frames.values.dtype,
        frames.axes,
        (1,) * len(frames.counts) + plan.tile_shape,
        {letter: size for letter, size in inputs[0].sizes.items() if letter in frames.axes},
        inputs[0].unit,
        _about(inputs, frames.values, options),
        values=None if frames.values is None else tuple(frames.values.tolist()),
    )
    labels = FileSink(target)
    marginals = None if options.marginals is None else FileSink(_beside(target, options, problem.n_labels))
    job = Job(
        frames=frames,
        params=options.model,
        spacing=spacing,
        plan=plan,
        n_labels=problem.n_labels,
        sinks=(labels,) if marginals is None else (labels, marginals),
        tile_memory=options.tile_memory,
        address=options.address,
    )
    return FileJob(inputs, options, job, labels, marginals)


def _first_params(frames: Frames, spacing: Any, options: Options) -> CRFParams:
    """Return the best of a few settings for the first frame; of a film, for its first image."""
    frame, channel_axis = frames.frame((0,) * len(frames.counts)), frames.channel_axis
    image, probabilities = frame.image, frame.probabilities
    if options.time_sigma is not None:
        n_axes = image.ndim - (channel_axis is not None)
        classes_first = probabilities.ndim > n_axes
        image, probabilities = image[0], probabilities[:, 0] if classes_first else probabilities[0]
        channel_axis = None if channel_axis is None else channel_axis if channel_axis < 0 else channel_axis - 1
        spacing = spacing if spacing is None or np.ndim(spacing) == 0 else tuple(spacing)[-2:]
    return first_params(image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=True)


def _check_object_options(options: Options) -> None:
    """Raise `BadInput` for what is said of classes alone."""
    for name, value, why in (
        ("--from-labels", options.confidence, "objects are labels already"),
        ("--marginals", options.marginals, "objects have no classes"),
        ("--time-sigma", options.time_sigma, "objects are refined frame by frame"),
    ):
        if value is not None:
            raise BadInput(f"{name} is for classes, and --objects is given: {why}")


def _prepare_objects(path: Path, inputs: tuple[Contents, ...], options: Options, wanted: ObjectOptions) -> FileJob:
    """Do what `prepare` does with files that are open, of which the second holds objects."""
    image, objects = inputs[:2]
    frames = lay_out(
        *inputs,
        axes=options.axes,
        map_axes=options.map_axes,
        channel_axis=options.channel_axis,
        foreground=None if wanted.foreground is None else read(wanted.foreground),
        objects=True,
    )
    places.check_room(path, math.prod(frames.shape))
    frames = _checked_objects(frames, objects, is_one_of_many=options.is_one_of_many)
    spacing = _spacing(options, image, frames.space)
    params = None if wanted.chosen else options.params
    try:
        common, why, plan = choose_for(
            frames, spacing, params, wanted.border, wanted.one_contrast, wanted.adapt, options.tile_memory
        )
    except ValueError as error:
        raise BadInput(f"{objects.path}: {error}") from None
    if options.address is not None:
        _check_workers(plan, options.address)
    dtype = frames.probabilities.dtype.newbyteorder("=")
    if dtype.itemsize == 8:
        dtype = _type_in(path, labels_in(frames.probabilities)) if _is_ome(path) else dtype
        frames = replace(frames, probabilities=frames.probabilities.astype(dtype))
    chosen = replace(options, params=common.params)
    about = _about(inputs, None, chosen) | {
        "objects": {"border": common.border, "why": why, "one_contrast": common.one_contrast},
        "foreground": None if wanted.foreground is None else Path(wanted.foreground).name,
    }
    target = Target(
        path,
        frames.shape,
        dtype,
        frames.axes,
        (1,) * len(frames.counts) + plan.tile_shape,
        {letter: size for letter, size in image.sizes.items() if letter in frames.axes},
        image.unit,
        about,
        holds_objects=True,
    )
    labels = FileSink(target)
    job = ObjectJob(
        frames=frames,
        spacing=spacing,
        common=common,
        why=why,
        plan=plan,
        sinks=(labels,),
        address=options.address,
    )
    return FileJob(inputs, chosen, job, labels)


def _checked_objects(frames: Frames, source: Contents, *, is_one_of_many: bool) -> Frames:
    """Raise `BadInput` where these are no objects; say where that is a guess. Whole numbers become integers."""
    pixels = frames.probabilities
    seen = look_through(pixels, None)
    refused = refusal_of_objects(seen, pixels.dtype)
    if refused is not None:
        raise BadInput(f"{source.path}: {refused}")
    if pixels.dtype.kind == "f":
        return replace(frames, probabilities=pixels.map_blocks(partial(_whole_numbers, source.path), dtype=np.int32))
    if seen.kind in (Kind.PROBABILITIES, Kind.SCALED) and not seen.why.startswith("holds only"):
        doubt = f"{source.path} may be a picture or a map: it {seen.why}, and neighbours differ"
        if is_one_of_many:
            raise BadInput(f"{doubt}; expected a number for each object")
        warnings.warn(f"{doubt}; each number is taken for an object", InputWarning, 2)
    if seen.kind is Kind.MASK:
        warnings.warn(
            f"{source.path} {seen.why}, which is one object, whatever its pieces; skimage.measure.label gives each its "
            "number",
            InputWarning,
            2,
        )
    return frames


def inputs_of(image: str, probabilities: str, strokes: str | None, options: Options) -> list[Use]:
    """Return the files that a refinement reads."""
    return places.reads(
        ("the image", image),
        ("the map", probabilities),
        ("the strokes", strokes),
        ("the parameters", options.params_path),
        ("the foreground", None if options.objects is None else options.objects.foreground),
    )


def outputs_of(path: Path, options: Options) -> list[Use]:
    """Return the files that a refinement writes."""
    marginals = [] if options.marginals is None else [Use("the marginals", options.marginals)]
    return [Use("the labels", path), *marginals]


def _beside(target: Target, options: Options, n_labels: int) -> Target:
    """Return the target of the marginals: classes first; in OME-Zarr time comes before them."""
    assert options.marginals is not None
    at = _class_axis(target.axes) if is_zarr(options.marginals) else 0

    def with_classes(along: Any, classes: Any) -> Any:
        return along[:at] + classes + along[at:]

    return replace(
        target,
        path=options.marginals,
        shape=with_classes(target.shape, (n_labels,)),
        dtype=np.dtype(options.marginals_dtype),
        axes=with_classes(target.axes, "C"),
        tile_shape=with_classes(target.tile_shape, (n_labels,)),
        holds_labels=False,
        values=None,
    )


def _class_axis(axes: str) -> int:
    """Return the number of axes before the first spatial one."""
    return min(axes.index(letter) for letter in axes if letter in "ZYX")


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_workers(plan: TilePlan, address: str) -> None:
    """Raise `BadInput` where the memory of a worker is less than two tiles: one at work, one that waits."""
    limit = least_worker_memory(address)
    if limit is not None and 2 * plan.tile_bytes > limit:
        raise BadInput(
            f"a tile takes {plan.tile_bytes / GIB:.2f} GiB, and a worker of {address} may take {limit / GIB:.2f} GiB "
            f"for it and what waits: say --tile-memory {limit / GIB / 2:.2g}"
        )


def _spacing(options: Options, image: Contents, space: str) -> Any:
    if options.spacing != FROM_FILE:
        return _with_frames(options.spacing, space)
    missing = [letter for letter in space if letter not in image.sizes and letter != "T"]
    if missing:
        raise BadInput(f"{image.path} does not say the size of a pixel along {', '.join(missing)}: give --spacing")
    # A frame is the unit of time.
    return tuple(1.0 if letter == "T" else image.sizes[letter] for letter in space)


def _with_frames(spacing: Any, space: str) -> Any:
    """Put 1, the size of a frame, before the pixel sizes, where time is an axis and has no size yet."""
    if spacing is None or not space.startswith("T"):
        return spacing
    sizes = spacing if isinstance(spacing, tuple) else (spacing, spacing)
    return sizes if len(sizes) == len(space) else (1.0, *sizes)


def _checked(frames: Frames, source: Contents, *, is_one_of_many: bool) -> Frames:
    """Raise `BadInput` where the map, all frames together, is none of probabilities; say where that is a guess."""
    pixels = frames.probabilities
    seen = look_through(pixels, 0 if frames.has_classes else None)
    refused = refusal(seen, COMMAND)
    if refused is not None:
        raise BadInput(f"{source.path}: {refused}")
    if frames.has_classes and not seen.sure and is_one_of_many:
        # Nobody looks at each of many files, and a photo is no map.
        raise BadInput(f"{source.path} is no map of probabilities: it {seen.why}, and a map to 1")
    if not frames.has_classes:
        _refuse_classes_as_frames(frames, source)
        if not seen.sure and is_one_of_many:
            raise BadInput(
                f"{source.path} may be a picture: it {seen.why}, and has no classes that sum to 1; say --map-axes "
                f"{frames.axes} if it is the foreground of two classes"
            )
        if not seen.sure:
            warnings.warn(f"{source.path} is taken for the foreground of two classes; it {seen.why}", InputWarning, 2)
    return frames


def _refuse_classes_as_frames(frames: Frames, source: Contents) -> None:
    """Raise `BadInput` where a foreground map sums to one along an axis that is taken for frames or slices."""
    for axis, size in enumerate(frames.shape[:-2]):
        seen = look_through(frames.probabilities, axis) if 2 <= size <= MAX_CLASSES else None
        if seen is not None and seen.kind is Kind.PROBABILITIES and seen.sure:
            letter = frames.axes[axis]
            raise BadInput(
                f"{source.path} {seen.why.replace('the classes', letter)}, so {letter} counts classes there: say "
                f"--axes {frames.axes.replace(letter, 'C')} if it counts channels in the image"
            )


def _from_labels(frames: Frames, source: Contents, options: Options) -> Frames:
    """Return frames whose map is made of a rough segmentation: its classes are the values of all frames."""
    labels = _labels_of(frames, source)
    if source.no_label is not None:
        # Of labels that were saved here: they have none again.
        labels = lazy(labels).map_blocks(partial(without, source.no_label))
    values = classes_in(labels, source.path)
    if len(values) > FEW_VALUES and look_through(labels, None).kind is Kind.OBJECTS:
        warnings.warn(
            f"{source.path} holds {len(values)} values that look like objects, and each is taken for a class: say "
            "--objects in place of --from-labels to refine the border of each",
            InputWarning,
            2,
        )
    assert options.confidence is not None
    probabilities = map_of_labels(labels, options.confidence, values)
    return replace(frames, probabilities=probabilities, has_classes=True, values=values)


def _labels_of(frames: Frames, source: Contents) -> Any:
    """Return one integer a pixel: of planes of 0 and 1, the number of the plane; of floats, whole numbers."""
    labels = frames.probabilities
    if frames.has_classes:
        if look_through(labels, 0).kind is not Kind.ONE_HOT:
            raise BadInput(
                f"{source.path} has shape {source.pixels.shape}: expected {frames.shape}, one label a pixel; leave out "
                "--from-labels where these are probabilities"
            )
        whole = labels.rechunk({0: -1})
        return whole.map_blocks(
            partial(_plane_numbers, source.path), dtype=label_type(len(labels)), drop_axis=0, chunks=whole.chunks[1:]
        )
    if labels.dtype.kind == "f":
        return labels.map_blocks(partial(_whole_numbers, source.path), dtype=np.int32)
    return labels


def _plane_numbers(name: str, planes: NDArray[Any]) -> NDArray[Any]:
    """Return which of the planes, (n_classes, *spatial), is not 0 at each pixel."""
    n_wrong = np.count_nonzero((planes > 0).sum(axis=0) != 1)
    if n_wrong:
        raise BadInput(f"{name} has no class, or several, at {n_wrong:,} pixels: expected one plane above 0 at each")
    numbers: NDArray[Any] = planes.argmax(axis=0).astype(label_type(len(planes)))
    return numbers


def _whole_numbers(name: str, floats: NDArray[Any]) -> NDArray[np.int32]:
    labels: NDArray[np.int32] = np.clip(np.nan_to_num(floats), -(2**31), 2**31 - 128).astype(np.int32)
    if not (labels == floats).all():
        raise BadInput(
            f"{name} holds floats that are no whole numbers: expected one label a pixel; leave out --from-labels or "
            "--objects where these are probabilities"
        )
    return labels


def _type_in(path: Path, values: NDArray[Any]) -> np.dtype[Any]:
    """Return the type for labels of these values: their own; OME-TIFF has none of 64 bit, so there the smallest."""
    if values.dtype.itemsize < 8 or not _is_ome(path):
        return values.dtype
    for smaller in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        if np.iinfo(smaller).min <= values[0] and values[-1] <= np.iinfo(smaller).max:
            return np.dtype(smaller)
    raise BadInput(f"{path} cannot hold labels of {values[0]} to {values[-1]}, of 64 bit: expected .tif or .npy")


def _is_ome(path: Path) -> bool:
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def _about(inputs: tuple[Contents, ...], values: NDArray[Any] | None, options: Options) -> dict[str, Any]:
    """Return inputs and options; a stopped run goes on only if all of them are the same."""
    kinds = ("image", "probabilities", "strokes")
    files = {}
    for kind, contents in zip(kinds, inputs, strict=False):
        path = Path(contents.path)
        changed = os.stat(path).st_mtime_ns if path.exists() else None
        files[kind] = {"path": path.name, "changed_ns": changed}
    return {
        "version": version("napari-densecrf"),
        "params": options.params.to_dict(),
        "spacing": list(options.spacing) if isinstance(options.spacing, tuple) else options.spacing,
        "confidence": options.confidence,
        "classes": None if values is None else values.tolist(),
        "axes": options.axes,
        "map_axes": options.map_axes,
        "channel_axis": options.channel_axis,
        "tile_memory": options.tile_memory,
        "time_sigma": options.time_sigma,
        "marginals": None if options.marginals is None else [options.marginals.name, options.marginals_dtype],
        "inputs": files,
    }
