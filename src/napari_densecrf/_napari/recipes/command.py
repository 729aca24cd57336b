"""What was done in the window, as one shell command on the files that the layers came from."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from napari.layers import Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf._napari.contributions.reader import FILE_AXES
from napari_densecrf._napari.problem.axes import levels_of, shape_of
from napari_densecrf._napari.problem.problem import METADATA_KEY, SINGLES, FromStrokes, Misfit, Problem
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.problem.view import whole_of
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.files import read as files
from napari_densecrf.params import CRFParams

from .python import file_of

# Letters of axes that count images by themselves, as the command line has them.
COUNTING = f"T{SINGLES}"


def shell_command(result: Result, strokes: Labels | None) -> str:
    """Return the command that refines the same files with the same numbers.

    Raises
    ------
    Misfit
        With one sentence, where the command cannot read what the window has.
    """
    request = result.request
    problem = request.problem
    source = _single_map(problem)
    image_axes, map_axes = axes_of(request)
    image, image_axes = _file_and_axes(problem.image, image_axes)
    probabilities, map_axes = _file_and_axes(source, map_axes)
    words = ["napari-densecrf", "refine", image, probabilities]
    words += ["-o", str(Path(image).with_name(f"{Path(image).stem}_refined.tif"))]
    if image_axes != "YX":
        words += ["--axes", image_axes]
    if map_axes not in ("YX", "CYX"):
        words += ["--map-axes", map_axes]
    words += ["--spacing", ",".join(repr(float(size)) for size in request.frame_spacing)]
    if request.time_sigma is not None:
        words += ["--time-sigma", repr(request.time_sigma)]
    if problem.objects:
        words += objects_options(request.border)
    elif isinstance(source, Labels):
        _check_blanks(source, probabilities)
        words += ["--from-labels", repr(CONFIDENCE)]
    if strokes is not None:
        words += ["--strokes", _file_and_axes(strokes, "")[0]]
    return joined([*words, *options_of(request.params)], windows=os.name == "nt")


def joined(words: list[str], *, windows: bool) -> str:
    """Return words as the shell of a system wants them: both of Windows' know double quotes alone."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


def differs(request: Request) -> str:
    """Say why the command's labels may differ from those that are shown, or nothing where they do not."""
    whole = whole_of(request.problem, request.read)
    if request.read == whole and whole.step == 1:
        return ""
    what = f"the whole {request.frame}" if whole.z is not None and request.read.z != whole.z else "the whole image"
    return words.refines_more(what)


def axes_of(request: Request) -> tuple[str, str]:
    """Return a letter for each axis of the image's data, and of the map's."""
    problem = request.problem
    if len(problem.shape) - 2 > len(COUNTING):
        raise Misfit(words.TOO_MANY_AXES)
    letters = problem.letters("Z" if request.frame == "volume" else "T")
    return problem.image_axes.letters(letters), problem.map_axes[0].letters(letters)


def _single_map(problem: Problem) -> Layer:
    if isinstance(problem.map, FromStrokes):
        raise Misfit(words.MADE_OF_STROKES)
    if isinstance(problem.map, tuple):
        raise Misfit(words.several_layers(len(problem.map)))
    if problem.along:
        raise Misfit(words.BROUGHT_ONTO_THE_IMAGE)
    if problem.channels:
        raise Misfit(words.several_channels(len(problem.channels)))
    if problem.image.rgb and shape_of(problem.image)[-1] > 3:
        raise Misfit(words.has_alpha(problem.image.name))
    return problem.map


def _check_blanks(source: Labels, name: str) -> None:
    """Raise `Misfit` where a file does not say which pixels have no label, as its layer does."""
    number = source.metadata.get(METADATA_KEY, {}).get("no_label")
    if number is None or files.read(name).no_label == number:
        return
    if (np.asarray(levels_of(source)[0]) == number).any():
        raise Misfit(words.unsaid_blanks(source.name))


def _file_and_axes(layer: Layer, axes: str) -> tuple[str, str]:
    """Return the file that a layer came from, as the command names it, and the letters of the file's own axes.

    Raises
    ------
    Misfit
        Where there is none, or it does not hold what the layer shows.
    """
    path = file_of(layer)
    if path is not None:
        return str(path), axes
    # Labels may have been painted on since.
    if layer.source.path and not isinstance(layer, Labels):
        name, order = str(layer.source.path), layer.metadata.get(FILE_AXES)
        if order is not None:
            return name, _unarranged(axes, order)
        if _shape_in_file(name) == shape_of(layer):
            return name, axes
    raise Misfit(words.command_reads_files(layer.name))


def _unarranged(axes: str, order: list[int | None]) -> str:
    """Return the letters in the order of a file's axes; ``order`` has the layer's axis for each, None for none."""
    spare = (letter for letter in reversed(COUNTING) if letter not in axes)
    return "".join(next(spare) if axis is None else axes[axis] for axis in order)


def _shape_in_file(name: str) -> tuple[int, ...] | None:
    """Return the shape that the command finds in a file."""
    try:
        return tuple(files.read(name).pixels.shape)
    except (files.BadInput, OSError):
        return None


def options_of(params: CRFParams) -> Iterator[str]:
    """Give parameters as options of the command line."""
    for kernel in params.kernels:
        kind = "smoothness" if kernel.intensity_sigma is None else "appearance"
        yield from (f"--{kind}-weight", repr(kernel.weight), f"--{kind}-position-sigma", repr(kernel.position_sigma))
        if kernel.intensity_sigma is not None:
            yield from (f"--{kind}-intensity-sigma", repr(kernel.intensity_sigma))
    yield from ("--iterations", str(params.n_iterations), "--damping", repr(params.damping))
    if params.label_bias is not None:
        # One word, as a number may begin with a minus.
        yield f"--label-bias={','.join(map(repr, params.label_bias))}"


def objects_options(border: float | None) -> list[str]:
    """Return the options of the command line for objects as the window refines them."""
    return ["--objects", "--one-contrast", *([] if border is None else ["--border", repr(border)])]
