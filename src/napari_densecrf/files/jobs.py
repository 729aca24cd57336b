"""One refinement from files to files: the job that does it, opened, checked and planned."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_densecrf.blank import label_type
from napari_densecrf.choose.start import first_params
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.missing import share_words
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import NO_NUMBER
from napari_densecrf.large.dask_arrays import labels_in
from napari_densecrf.large.job import Job, first_plan
from napari_densecrf.large.object_job import ObjectJob, choose_for
from napari_densecrf.large.scheduling import least_worker_memory
from napari_densecrf.large.tile_job import Progress
from napari_densecrf.large.tiling import GIB, TilePlan
from napari_densecrf.params import CRFParams

from . import places
from .frames import Frames, lay_out
from .maps import checked_objects, checked_probabilities, map_from_labels
from .options import FROM_FILE, ObjectOptions, Options, inputs_of, outputs_of
from .outputs import about_run, labels_target, marginals_target, type_in
from .places import image_of_labels
from .read import BadInput, Contents, is_ome_tif, read
from .resampled import on_image
from .target import check_path
from .write import FileSink, summary


@dataclass(frozen=True, eq=False)
class FileJob:
    """A refinement from files to files that is checked, planned and ready to run.

    Parameters
    ----------
    inputs : tuple of Contents
        Image, map, and strokes if there are any.
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
        """Run the job, or go on with one that was stopped; warn where pixels have no value.

        Yields
        ------
        Progress
            Before the first tile, and after each.
        """
        yield from self.job.run()
        if self.missing:
            warnings.warn(f"{self.inputs[0].path}: {self.missing}", InputWarning, 2)

    @property
    def missing(self) -> str:
        """A sentence on the pixels without a value, when the job is done; empty where there are none."""
        target, n_missing = self.labels.target, self.labels.n_missing
        share = share_words(n_missing / math.prod(target.shape))
        part = f"{share} of the pixels have no value and take no part; they are {target.no_label} in the labels"
        return part if n_missing else ""

    @property
    def choice(self) -> str:
        """A sentence on how far borders of objects may be off, and how that was chosen."""
        assert isinstance(self.job, ObjectJob)
        unit = self.inputs[0].unit if self.options.spacing == FROM_FILE else None
        if self.options.spacing is None:
            unit = "pixels"
        why = f": {self.job.why}" if self.job.why else ""
        return f"borders may be off by {self.job.common.border:.3g}{f' {unit}' if unit else ''}{why}"

    @property
    def outcome(self) -> str:
        """A sentence on the numbers of objects, when the job is done."""
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
    """Open the files, fit their axes, check what they hold, and plan.

    Parameters
    ----------
    image, probabilities : str
        Files that `read` takes. The second is the map: probabilities, classes where ``options.confidence`` is given, or
        objects where ``options.objects`` is.
    output : str or Path
        Where the labels go, as `Target` takes it.
    options : Options
    strokes : str, optional
        A file of one integer a pixel.

    Raises
    ------
    BadInput, ValueError, MemoryError, OSError
        With one sentence that names what came and what is expected.
    """
    path = Path(output)
    _check_names(image, probabilities, strokes, path, options)
    inputs = _opened(image, probabilities, strokes, options)
    if options.objects is not None:
        return _prepare_objects(path, inputs, options, options.objects)
    return _prepare_classes(path, inputs, options)


def _check_names(image: str, probabilities: str, strokes: str | None, path: Path, options: Options) -> None:
    """Raise `BadInput` for options that exclude each other, and for files that are no output or would be lost."""
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


def _check_object_options(options: Options) -> None:
    """Raise `BadInput` for options that are for classes alone."""
    for name, value, why in (
        ("--from-labels", options.confidence, "objects are labels already"),
        ("--marginals", options.marginals, "objects have no classes"),
        ("--time-sigma", options.time_sigma, "objects are refined frame by frame"),
    ):
        if value is not None:
            raise BadInput(f"{name} is for classes, and --objects is given: {why}")


def _opened(image: str, probabilities: str, strokes: str | None, options: Options) -> tuple[Contents, ...]:
    """Return image, map, and strokes if there are any; the map is brought onto the pixels of the image."""
    names = [image, probabilities] + ([] if strokes is None else [strokes])
    opened = [read(name) for name in names]
    for contents in opened:
        if contents.pixels.dtype.kind not in "biuf":
            raise BadInput(f"{contents.path} holds {contents.pixels.dtype} values: expected integers or floats")
    if options.axes is None and options.map_axes is None:
        # Where the command line names the axes, it is not known which sizes of a pixel belong together.
        is_rough = options.confidence is not None or options.objects is not None
        opened[1] = on_image(opened[0], opened[1], rough=is_rough, none=None if options.objects is None else 0)
    return tuple(opened)


def _laid_out(path: Path, inputs: tuple[Contents, ...], options: Options) -> Frames:
    """Return the frames of the files, whose map is not checked yet; there is room for their labels."""
    foreground = None if options.objects is None else options.objects.foreground
    frames = lay_out(
        *inputs,
        axes=options.axes,
        map_axes=options.map_axes,
        channel_axis=options.channel_axis,
        film=options.time_sigma is not None,
        foreground=None if foreground is None else read(foreground),
        objects=options.objects is not None,
    )
    places.check_room(path, math.prod(frames.shape))
    return frames


def _prepare_classes(path: Path, inputs: tuple[Contents, ...], options: Options) -> FileJob:
    """Do what `prepare` does with files that are open, of which the second holds probabilities or classes."""
    image, source = inputs[:2]
    frames = _laid_out(path, inputs, options)
    if frames.image.dtype.kind == "f" and look_through(frames.image, None).why == NO_NUMBER:
        raise BadInput(f"{image.path} has no value at any pixel: all are NaN")
    if options.confidence is None:
        is_one_of_many = options.is_one_of_many and options.map_axes is None
        frames = checked_probabilities(frames, source, is_one_of_many=is_one_of_many)
    else:
        frames = map_from_labels(frames, source, options.confidence)
    if frames.values is not None:
        # In the type of the file, whose largest number stands for pixels without a value.
        frames = replace(frames, values=frames.values.astype(type_in(path, frames.values)))
    spacing = _spacing(options, image, frames.space)
    if options.chosen:
        options = replace(options, params=options.adapt(_first_params(frames, spacing, options)))
    problem, plan = first_plan(frames, options.model, spacing, options.tile_memory)
    if options.address is not None:
        _check_workers(plan, options.address)
    dtype = label_type(problem.n_labels) if frames.values is None else frames.values.dtype
    target = labels_target(path, frames, plan, dtype, image, about_run(inputs, frames.values, options))
    labels = FileSink(target)
    marginals = None if options.marginals is None else FileSink(marginals_target(target, options, problem.n_labels))
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


def _prepare_objects(path: Path, inputs: tuple[Contents, ...], options: Options, wanted: ObjectOptions) -> FileJob:
    """Do what `prepare` does with files that are open, of which the second holds objects."""
    image, source = inputs[:2]
    frames = _laid_out(path, inputs, options)
    frames = checked_objects(frames, source, is_one_of_many=options.is_one_of_many)
    spacing = _spacing(options, image, frames.space)
    params = None if wanted.chosen else options.params
    try:
        common, why, plan = choose_for(
            frames, spacing, params, wanted.border, wanted.one_contrast, wanted.adapt, options.tile_memory
        )
    except ValueError as error:
        raise BadInput(f"{source.path}: {error}") from None
    if options.address is not None:
        _check_workers(plan, options.address)
    dtype = frames.probabilities.dtype.newbyteorder("=")
    if dtype.itemsize == 8:
        dtype = type_in(path, labels_in(frames.probabilities)) if is_ome_tif(path) else dtype
        frames = replace(frames, probabilities=frames.probabilities.astype(dtype))
    options = replace(options, params=common.params)
    about = about_run(inputs, None, options)
    about["objects"] = {"border": common.border, "why": why, "one_contrast": common.one_contrast}
    labels = FileSink(labels_target(path, frames, plan, dtype, image, about, holds_objects=True))
    job = ObjectJob(
        frames=frames,
        spacing=spacing,
        common=common,
        why=why,
        plan=plan,
        sinks=(labels,),
        address=options.address,
    )
    return FileJob(inputs, options, job, labels)


def _first_params(frames: Frames, spacing: Any, options: Options) -> CRFParams:
    """Return the parameters that suit the first frame; where frames are coupled in time, the first image."""
    frame, channel_axis = frames.frame((0,) * len(frames.counts)), frames.channel_axis
    image, probabilities = frame.image, frame.probabilities
    if options.time_sigma is not None:
        n_axes = image.ndim - (channel_axis is not None)
        classes_first = probabilities.ndim > n_axes
        image, probabilities = image[0], probabilities[:, 0] if classes_first else probabilities[0]
        channel_axis = None if channel_axis is None else channel_axis if channel_axis < 0 else channel_axis - 1
        spacing = spacing if spacing is None or np.ndim(spacing) == 0 else tuple(spacing)[-2:]
    return first_params(image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=True)


def _check_workers(plan: TilePlan, address: str) -> None:
    """Raise `BadInput` where a worker has no memory for two tiles: one that is refined, and one that waits."""
    limit = least_worker_memory(address)
    if limit is not None and 2 * plan.tile_bytes > limit:
        raise BadInput(
            f"a tile takes {plan.tile_bytes / GIB:.2f} GiB, and a worker of {address} may take {limit / GIB:.2f} GiB "
            f"for it and what waits: say --tile-memory {limit / GIB / 2:.2g}"
        )


def _spacing(options: Options, image: Contents, space: str) -> Any:
    """Return the size of a pixel along each axis of ``space``, or one for all; None = 1.

    Raises
    ------
    BadInput
        Where the image's file should say it and does not.
    """
    if options.spacing != FROM_FILE:
        return _with_frames(options.spacing, space)
    missing = [letter for letter in space if letter not in image.sizes and letter != "T"]
    if missing:
        raise BadInput(f"{image.path} does not say the size of a pixel along {', '.join(missing)}: give --spacing")
    # Along time, the unit of sigmas is a frame.
    return tuple(1.0 if letter == "T" else image.sizes[letter] for letter in space)


def _with_frames(spacing: Any, space: str) -> Any:
    """Return the spacing with 1 for time, where time is the first axis and the spacing is that of y and x alone."""
    if spacing is None or not space.startswith("T"):
        return spacing
    sizes = spacing if isinstance(spacing, tuple) else (spacing, spacing)
    return sizes if len(sizes) == len(space) else (1.0, *sizes)


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
