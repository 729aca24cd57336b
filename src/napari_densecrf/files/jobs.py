"""One refinement from files to a file: what it reads, what it will take, and doing it tile by tile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_densecrf.large.tiles import (
    TILE_MEMORY,
    finished,
    in_255ths,
    least_worker_memory,
    map_of_labels,
    plan_tiles,
    refine_tiles,
    renamed,
    together,
)
from napari_densecrf.large.tiling import GIB, TilePlan
from napari_densecrf.params import CRFParams

from . import places
from .frames import Frames, lay_out
from .places import Use, image_of_labels
from .read import BadInput, Contents, read
from .write import PartialLabels, Target, check_path, is_zarr

FROM_FILE = "file"
# The index of a frame, and a part of it.
Place: TypeAlias = "tuple[tuple[int, ...], tuple[slice, ...]]"


@dataclass(frozen=True)
class Options:
    """What the command line says beside the files.

    Parameters
    ----------
    params : CRFParams
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

    @property
    def model(self) -> CRFParams:
        """The parameters of the axes that are refined together."""
        return self.params if self.time_sigma is None else self.params.coupled_in_time(self.time_sigma)


@dataclass(frozen=True)
class Job:
    """A refinement that is ready to run: all is checked but the values of the pixels.

    Parameters
    ----------
    inputs : tuple of Contents
        Image, map, strokes if there are any.
    frames : Frames
    plan : TilePlan
        Of each frame.
    options : Options
    target : Target
    values : tuple of int, optional
        What is written for each class; None = its index.
    marginals : Target, optional
        Where the marginals go.
    """

    inputs: tuple[Contents, ...]
    frames: Frames
    plan: TilePlan
    options: Options
    target: Target
    values: tuple[int, ...] | None = None
    marginals: Target | None = None

    @property
    def spacing(self) -> Any:
        """Pixel sizes as `refine_tiles` takes them."""
        return _spacing(self.options, self.inputs[0], self.frames.space)

    @property
    def n_tiles(self) -> int:
        """Tiles of all frames."""
        return len(self.frames) * self.plan.n_tiles

    @property
    def targets(self) -> tuple[Target, ...]:
        """The files that are written."""
        return (self.target,) if self.marginals is None else (self.target, self.marginals)

    def describe(self) -> str:
        """Say in a few lines what will be read and written, and what it takes."""
        frames = self.frames
        lines = [f"reads   {contents}" for contents in self.inputs]
        lines += [f"writes  {one.path}: {_words(one.shape)} {one.axes} {one.dtype}" for one in self.targets]
        lines.append(f"refines {f'{len(frames)} frames, each ' if len(frames) > 1 else ''}{self.plan}")
        if len(frames) > 1:
            lines.append(
                f"in all  about {len(frames) * self.plan.predicted_seconds:.0f} s, reading and writing left out"
            )
        sigma_unit = "pixels" if self.spacing is None else f"pixels of {self.spacing}"
        lines.append(f"sigmas  in {sigma_unit}{'' if self.options.time_sigma is None else ', in time in frames'}")
        return "\n".join(lines)


def prepare(image: str, probabilities: str, output: str | Path, options: Options, strokes: str | None = None) -> Job:
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
    places.check(inputs_of(image, probabilities, strokes, options), outputs_of(path, options))
    names = [image, probabilities] + ([] if strokes is None else [strokes])
    inputs = tuple(read(name) for name in names)
    frames = lay_out(
        *inputs,
        axes=options.axes,
        map_axes=options.map_axes,
        channel_axis=options.channel_axis,
        film=options.time_sigma is not None,
    )
    if options.confidence is not None:
        frames = _from_labels(frames, options.confidence)
    first = frames.frame((0,) * len(frames.counts))
    spacing = _spacing(options, inputs[0], frames.space)
    plan = plan_tiles(
        *first[:2],
        options.model,
        spacing=spacing,
        channel_axis=frames.channel_axis,
        tile_memory=options.tile_memory,
    )
    if options.address is not None:
        _check_workers(plan, options.address)
    # What only a lazy refinement checks, before anything is written.
    labels, marginals = refine_tiles(
        *first[:2],
        options.model,
        spacing=spacing,
        channel_axis=frames.channel_axis,
        strokes=first[2],
        plan=plan,
        result=("labels", "marginals"),
    )
    tile_shape = (1,) * len(frames.counts) + plan.tile_shape
    sizes = {letter: size for letter, size in inputs[0].sizes.items() if letter in frames.axes}
    target = Target(
        path, frames.shape, labels.dtype, frames.axes, tile_shape, sizes, inputs[0].unit, _about(inputs, options)
    )
    beside = None if options.marginals is None else _beside(target, options, len(marginals))
    return Job(inputs, frames, plan, options, target, marginals=beside)


def inputs_of(image: str, probabilities: str, strokes: str | None, options: Options) -> list[Use]:
    """Return the files that a refinement reads."""
    return places.reads(
        ("the image", image),
        ("the map", probabilities),
        ("the strokes", strokes),
        ("the parameters", options.params_path),
    )


def outputs_of(path: Path, options: Options) -> list[Use]:
    """Return the files that a refinement writes."""
    marginals = [] if options.marginals is None else [Use("the marginals", options.marginals)]
    return [Use("the labels", path), *marginals]


def _beside(target: Target, options: Options, n_labels: int) -> Target:
    """Return where the marginals go: classes first, but in OME-Zarr, where time comes before them."""
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
    )


def _class_axis(axes: str) -> int:
    """Return how many axes come before the first of space."""
    return min(axes.index(letter) for letter in axes if letter in "ZYX")


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_workers(plan: TilePlan, address: str) -> None:
    """Raise `BadInput` where a tile, with as much again for what waits, passes what a worker may take."""
    limit = least_worker_memory(address)
    if limit is not None and 2 * plan.tile_bytes > limit:
        raise BadInput(
            f"a tile takes {plan.tile_bytes / GIB:.2f} GiB, and a worker of {address} may take {limit / GIB:.2f} GiB "
            f"for it and what waits: say --tile-memory {limit / GIB / 2:.2g}"
        )


def run(job: Job) -> Iterator[tuple[int, list[int]]]:
    """Do a job; one that was stopped goes on where it was.

    Yields
    ------
    n_done : int
        Tiles that are finished.
    areas : list of int
        Pixels of each class in them.
    """
    files = [PartialLabels(target) for target in job.targets]
    labels = files[0]
    done = set(labels.done).intersection(*(file.done for file in files))
    try:
        yield len(done), labels.areas()
        places: dict[str, Place] = {}
        for key, tiles in finished(_blocks(job, done, places), job.options.address):
            frame, inner = places.pop(key)
            # Labels last: their journal then tells what is finished.
            if job.marginals is not None:
                files[1].write(key, *_placed(job.marginals, frame, inner, tiles[1]))
                tiles = tiles[0]
            labels.write(key, (*frame, *inner), tiles)
            done.add(key)
            yield len(done), labels.areas()
    except BaseException:
        for file in files:
            file.abandon()
        raise
    for file in reversed(files):
        file.finish()


def _placed(target: Target, frame: tuple[int, ...], inner: tuple[slice, ...], tile: Any) -> tuple[Any, Any]:
    """Return where the marginals of a tile, classes first, belong, and themselves as they lie there."""
    at = target.axes.index("C")
    where: list[slice | int] = [*frame, *inner]
    where.insert(at, slice(None))
    return tuple(where), np.moveaxis(tile, 0, max(at - len(frame), 0))


def _blocks(job: Job, done: set[str], places: dict[str, Place]) -> Iterator[tuple[str, Any]]:
    """Yield the lazy tiles that are not done, and note where each belongs."""
    for frame in job.frames.indices():
        keys = {index: ".".join(map(str, (*frame, *index))) for index in np.ndindex(job.plan.counts)}
        if all(key in done for key in keys.values()):
            continue
        image, probabilities, strokes = job.frames.frame(frame)
        results = refine_tiles(
            image,
            probabilities,
            job.options.model,
            spacing=job.spacing,
            channel_axis=job.frames.channel_axis,
            strokes=strokes,
            plan=job.plan,
            result=("labels",) if job.marginals is None else ("labels", "marginals"),
        )
        labels, marginals = results[0], results[-1]
        if job.options.marginals_dtype == "uint8":
            marginals = in_255ths(marginals)
        if job.values is not None:
            labels = renamed(labels, job.values, job.target.dtype)
        for index, key in keys.items():
            if key not in done:
                places[key] = frame, job.plan.tile(index).inner
                block = labels.blocks[index]
                yield key, block if job.marginals is None else together(block, marginals.blocks[(0, *index)])


def _spacing(options: Options, image: Contents, space: str) -> Any:
    if options.spacing != FROM_FILE:
        return _with_frames(options.spacing, space)
    missing = [letter for letter in space if letter not in image.sizes and letter != "T"]
    if missing:
        raise BadInput(f"{image.path} does not say the size of a pixel along {', '.join(missing)}: give --spacing")
    # A frame is the unit of time.
    return tuple(1.0 if letter == "T" else image.sizes[letter] for letter in space)


def _with_frames(spacing: Any, space: str) -> Any:
    """Put the size of a frame, 1, before those of a pixel, where time is an axis that has none."""
    if spacing is None or not space.startswith("T"):
        return spacing
    sizes = spacing if isinstance(spacing, tuple) else (spacing, spacing)
    return sizes if len(sizes) == len(space) else (1.0, *sizes)


def _from_labels(frames: Frames, confidence: float) -> Frames:
    if frames.has_classes:
        raise BadInput(f"the rough segmentation has shape {frames.probabilities.shape}: expected {frames.shape}")
    probabilities = map_of_labels(frames.probabilities, confidence)
    return Frames(
        frames.independent, frames.space, frames.image, probabilities, frames.strokes, frames.has_channels, True
    )


def _about(inputs: tuple[Contents, ...], options: Options) -> dict[str, Any]:
    """Return what the labels were made from: a stopped run goes on only where all of it is the same."""
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
        "axes": options.axes,
        "map_axes": options.map_axes,
        "channel_axis": options.channel_axis,
        "tile_memory": options.tile_memory,
        "time_sigma": options.time_sigma,
        "marginals": None if options.marginals is None else [options.marginals.name, options.marginals_dtype],
        "inputs": files,
    }
