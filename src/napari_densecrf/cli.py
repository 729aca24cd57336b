"""The command line: files to refined files. No Qt here; `demo` starts a process that has it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from napari_densecrf.crf.numba.compile import CacheWarning
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.files import batch
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import FROM_FILE, ObjectOptions, Options
from napari_densecrf.files.read import BadInput, read_params
from napari_densecrf.large.tiling import GIB, TILE_MEMORY

from .params import CRFParams, PairwiseKernel, Sigma

# Remarks that are printed; tiles and files may have the same one many times.
MOST_REMARKS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 where a batch had bad files, or 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        return _demo(arguments[1:])
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold what a terminal cannot show.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = _parser().parse_args(arguments)
    try:
        with _stopped_by_term():
            return int(options.run(options))
    except (BadInput, ValueError, TypeError, MemoryError, OSError) as error:
        print(f"napari-densecrf: {batch.sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("napari-densecrf: stopped; the same command goes on with what is finished", file=sys.stderr)
        return 128 + (_stop_signals[-1] if _stop_signals else signal.SIGINT)


# Signals other than Ctrl+C that stopped this process.
_stop_signals: list[int] = []


def _stop(number: int, _: Any) -> None:
    _stop_signals.append(number)
    raise KeyboardInterrupt


@contextmanager
def _stopped_by_term() -> Iterator[None]:
    """Let SIGTERM, which schedulers of clusters send, stop the work as Ctrl+C does; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stop_signals.clear()
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _demo(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print("usage: napari-densecrf demo\n\nOpen napari on a sample with the Dense CRF widget docked.")
        return 0
    headless = sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if headless:
        print(
            "napari-densecrf: there is no display to open a window on; try `xvfb-run napari-densecrf demo "
            "--screenshot demo.png`",
            file=sys.stderr,
        )
        return 2
    return subprocess.call([sys.executable, "-m", "napari_densecrf._napari.demo", *arguments])


def _numbers(text: str) -> Sigma:
    """Read ``3`` or ``1,2,2``."""
    values = tuple(_number(part) for part in text.split(","))
    return values[0] if len(values) == 1 else values


def _bias(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number") from None


def _spacing(text: str) -> Any:
    return FROM_FILE if text == FROM_FILE else _numbers(text)


def _gib(text: str) -> int:
    amount = _number(text)
    if not 0 < amount < 2**30:
        raise argparse.ArgumentTypeError(f"{text[:40]} is no amount of memory: expected GiB, as 0.75")
    return int(amount * GIB)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-densecrf", description="Refine a rough segmentation with a fully connected CRF."
    )
    parser.add_argument("--version", action="version", version=version("napari-densecrf"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="open napari on a sample with the widget docked")
    refine = commands.add_parser(
        "refine",
        help="refine one image, stack or time-lapse of any size",
        description="Refine the probability map of one image, tile by tile. Reads tif, npy, HDF5 (ilastik's exports), "
        "OME-Zarr, and what installed napari plugins read; a run that was stopped goes on.",
    )
    refine.add_argument("image", metavar="IMAGE", help="a file; FILE.h5/DATASET names what is inside")
    refine.add_argument(
        "probabilities",
        metavar="PROBABILITIES",
        help="with an axis for the classes, or the foreground of two classes; with --objects, the objects",
    )
    refine.add_argument(
        "-o", "--output", required=True, metavar="LABELS",
        help=".tif, .npy or .ome.zarr; SOURCE.ome.zarr/labels/NAME adds them to that image",
    )  # fmt: skip
    refine.add_argument(
        "--strokes",
        metavar="FILE",
        help="0 = free, k = this pixel is class k - 1; with --from-labels, the k-th of its labels; with --objects, the "
        "id of its object, or -1 for background",
    )
    refine.add_argument(
        "--marginals", metavar="FILE", help="write the probabilities of the classes too, classes first: .tif, .npy, ..."
    )
    refine.add_argument(
        "--marginals-dtype", choices=("float32", "uint8"), default="float32", help="uint8 holds 255ths, and is smaller"
    )
    refine.add_argument("--dry-run", action="store_true", help="say what would be read and written, and what it takes")
    refine.set_defaults(run=_refine)
    several = commands.add_parser(
        "batch",
        help="refine many images with the same numbers",
        description="Refine many images. A bad file is reported at the end and stops nothing (exit code 1); the table "
        f"{batch.TABLE} in the output folder has a row for each.",
    )
    several.add_argument("images", metavar="IMAGES", nargs="+", help='files, folders or patterns, as in "images/*.tif"')
    several.add_argument(
        "--probabilities",
        required=True,
        metavar="PATTERN",
        help='where the maps are, as in "maps/{stem}_prob.tif"; with --objects, where the objects are',
    )
    several.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where labels and table go")
    several.add_argument("--strokes", metavar="PATTERN", help="where the strokes are")
    several.add_argument("--format", default=".tif", metavar="ENDING", help=".tif (the default), .npy or .ome.zarr")
    several.add_argument("--skip-existing", action="store_true", help="leave labels as they are that are there already")
    several.set_defaults(run=_batch)
    for command in (refine, several):
        _add_options(command)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--params", metavar="FILE.json", help="all parameters, as CRFParams.to_json writes them")
    objects = command.add_argument_group("objects (the map holds an id a pixel, 0 = background)")
    objects.add_argument(
        "--objects", action="store_true", help="each id is an object, refined as a label of its own; ids and type stay"
    )
    objects.add_argument(
        "--border",
        type=_number,
        metavar="B",
        help="how far borders may be off, in pixels or the unit of --spacing; else chosen from image and objects",
    )
    objects.add_argument(
        "--foreground", metavar="FILE", help="probability of any object; of a batch, a pattern as for the maps"
    )
    objects.add_argument(
        "--one-contrast",
        action=argparse.BooleanOptionalAction,
        help="bring the image to the contrast of the typical object everywhere; on where no --params are given",
    )
    numbers = command.add_argument_group("parameters (several numbers, one per axis or channel: 1,2,2)")
    numbers.add_argument("--appearance-weight", type=float, metavar="W1")
    numbers.add_argument("--appearance-position-sigma", type=_numbers, metavar="S")
    numbers.add_argument("--appearance-intensity-sigma", type=_numbers, metavar="S")
    numbers.add_argument("--smoothness-weight", type=float, metavar="W2")
    numbers.add_argument("--smoothness-position-sigma", type=_numbers, metavar="S")
    numbers.add_argument(
        "--time-sigma",
        type=float,
        metavar="FRAMES",
        help="reach in time: frames (T) hold each other's labels; without it, each is refined by itself",
    )
    numbers.add_argument(
        "--label-bias",
        type=_bias,
        metavar="B,B",
        help="log-odds that favour each class; with --objects, two: for background and objects (--label-bias=-1,0)",
    )
    numbers.add_argument("--iterations", type=int, metavar="N")
    numbers.add_argument("--damping", type=float, metavar="D")
    axes = command.add_argument_group("axes")
    axes.add_argument(
        "--axes", metavar="LETTERS",
        help="of the image: Y X, Z for a volume, C for channels; any other (T, I) counts images by themselves",
    )  # fmt: skip
    axes.add_argument(
        "--map-axes", metavar="LETTERS", help="of the map, C for its classes; else from its file or shape"
    )
    axes.add_argument("--channel-axis", type=int, metavar="A", help="axis of the image's channels; guessed for RGB")
    axes.add_argument(
        "--spacing", type=_spacing, metavar="S",
        help='size of a pixel along each axis, or "file": what the image says; sigmas of position are in its unit',
    )  # fmt: skip
    axes.add_argument(
        "--from-labels",
        type=float,
        metavar="P",
        help="the map is a rough segmentation of any integers, whose classes have probability P (0.9 is usual)",
    )
    machine = command.add_argument_group("machine")
    machine.add_argument(
        "--tile-memory", type=_gib, default=TILE_MEMORY, metavar="GIB", help="for a tile at work (0.75)"
    )
    machine.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that sees the same files")
    machine.add_argument("--quiet", action="store_true", help="no progress bar, no remarks")


def _options(options: argparse.Namespace) -> Options:
    base = CRFParams() if options.params is None else read_params(options.params)
    return Options(
        params=base if options.objects else _params(options, base),
        axes=options.axes,
        map_axes=options.map_axes,
        channel_axis=options.channel_axis,
        spacing=options.spacing,
        confidence=options.from_labels,
        tile_memory=options.tile_memory,
        address=options.scheduler,
        time_sigma=options.time_sigma,
        params_path=options.params,
        objects=_objects(options),
        chosen=options.params is None and not options.objects,
        adapt=partial(_params, options),
    )


def _objects(options: argparse.Namespace) -> ObjectOptions | None:
    """Return what is said of objects, or raise `BadInput` where it is said without --objects."""
    if options.objects:
        return ObjectOptions(
            border=options.border,
            chosen=options.params is None,
            adapt=partial(_params, options),
            one_contrast=options.one_contrast,
            foreground=options.foreground,
        )
    given = {"--border": options.border, "--foreground": options.foreground, "--one-contrast": options.one_contrast}
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"{name} is for objects: say --objects with it")
    return None


def _refine(options: argparse.Namespace) -> int:
    chosen = replace(
        _options(options),
        marginals=None if options.marginals is None else Path(options.marginals),
        marginals_dtype=options.marginals_dtype,
    )
    with _remarks(options.quiet):
        job = prepare(options.image, options.probabilities, options.output, chosen, options.strokes)
        if options.dry_run:
            print(job.describe())
            return 0
        if chosen.objects is not None and not options.quiet:
            print(job.choice)
        with _bar(options.quiet, job.job.n_tiles) as bar:
            for progress in job.run():
                bar.total = progress.n_all
                bar.update(progress.n_done - bar.n)
        if chosen.objects is not None and not options.quiet:
            print(job.outcome)
    return 0


def _batch(options: argparse.Namespace) -> int:
    folder = Path(options.output)
    chosen = _options(options)
    entries = batch.find(
        options.images, options.probabilities, options.strokes, folder, options.format, options.foreground
    )
    outcomes: dict[str, batch.Outcome] = {}
    with _remarks(options.quiet), _bar(options.quiet, len(entries)) as bar:
        for outcome, is_final in batch.run_all(entries, chosen, folder, skip_existing=options.skip_existing):
            outcomes[outcome.entry.image] = outcome
            bar.set_description(Path(outcome.entry.image).name)
            if is_final:
                bar.update(1)
                for remark in outcome.remarks:
                    warnings.warn(remark, InputWarning, stacklevel=2)
    failed = [outcome for outcome in outcomes.values() if outcome.status == "failed"]
    for outcome in failed:
        print(f"napari-densecrf: {outcome.entry.image}: {outcome.error}", file=sys.stderr)
    if not options.quiet:
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} images done, see {folder / batch.TABLE}")
    return 1 if failed else 0


def _bar(quiet: bool, total: int) -> Any:
    """Return a progress bar on a terminal."""
    return tqdm(total=total, disable=quiet or not sys.stderr.isatty(), unit="tile", leave=False)


@contextmanager
def _remarks(quiet: bool) -> Iterator[None]:
    """Print the warnings about inputs, each once, at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    ours = [one for one in caught if issubclass(one.category, (InputWarning, CacheWarning))]
    said = list(dict.fromkeys(str(one.message) for one in ours))
    if quiet or not said:
        return
    for remark in said[:MOST_REMARKS]:
        print(f"napari-densecrf: {remark}", file=sys.stderr)
    if len(said) > MOST_REMARKS:
        print(f"napari-densecrf: and {len(said) - MOST_REMARKS} more remarks of this kind", file=sys.stderr)


def _params(options: argparse.Namespace, base: CRFParams) -> CRFParams:
    """Return parameters with single options in their place."""
    kernels = [
        _kernel(
            base, True, options.appearance_weight, options.appearance_position_sigma, options.appearance_intensity_sigma
        ),
        _kernel(base, False, options.smoothness_weight, options.smoothness_position_sigma, None),
    ]
    given = [options.appearance_weight, options.appearance_position_sigma, options.appearance_intensity_sigma]
    given += [options.smoothness_weight, options.smoothness_position_sigma]
    if any(value is not None for value in given) and len(base.kernels) > 2:
        raise BadInput(f"{options.params} has {len(base.kernels)} kernels: single options change one of each kind only")
    return CRFParams(
        kernels=tuple(kernels) if any(value is not None for value in given) else base.kernels,
        compatibility=base.compatibility,
        n_iterations=base.n_iterations if options.iterations is None else options.iterations,
        damping=base.damping if options.damping is None else options.damping,
        label_bias=base.label_bias if options.label_bias is None else options.label_bias,
    )


def _kernel(
    base: CRFParams, appearance: bool, weight: float | None, position: Sigma | None, intensity: Sigma | None
) -> PairwiseKernel:
    candidates = (*base.kernels, *CRFParams().kernels)
    kernel = next(one for one in candidates if (one.intensity_sigma is not None) == appearance)
    absent = not any((one.intensity_sigma is not None) == appearance for one in base.kernels)
    if absent and weight is None and position is None and intensity is None:
        weight = 0.0
    return PairwiseKernel(
        kernel.weight if weight is None else weight,
        kernel.position_sigma if position is None else position,
        kernel.intensity_sigma if intensity is None else intensity,
    )


if __name__ == "__main__":
    sys.exit(main())
