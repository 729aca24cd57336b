"""The command line: files to `refine` to files. No Qt here; `demo` starts a process that has it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tqdm import tqdm

from .params import CRFParams, PairwiseKernel, Sigma
from .refine import Refinement, Refiner

READABLE = (".tif", ".tiff", ".npy")


class BadInput(Exception):
    """Says in one sentence what is wrong with what was given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        return _demo(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        _refine(options)
    except (BadInput, ValueError, TypeError, MemoryError, OSError) as error:
        print(f"napari-densecrf: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("napari-densecrf: stopped, nothing was written", file=sys.stderr)
        return 130
    return 0


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


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
    values = tuple(float(part) for part in text.split(","))
    return values[0] if len(values) == 1 else values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-densecrf", description="Refine a rough segmentation with a fully connected CRF."
    )
    parser.add_argument("--version", action="version", version=version("napari-densecrf"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="open napari on a sample with the widget docked")
    refine = commands.add_parser(
        "refine",
        help="refine one image",
        description="Refine the probability map of one image; tif and npy in, tif or npy out.",
    )
    refine.add_argument("image", metavar="IMAGE", help="(*spatial), or with channels on --channel-axis")
    refine.add_argument(
        "probabilities", metavar="PROBABILITIES", help="(n_classes, *spatial), or the foreground of two classes"
    )
    refine.add_argument("-o", "--output", required=True, metavar="LABELS", help="where the labels go: .tif or .npy")
    refine.add_argument("--params", metavar="FILE.json", help="all parameters, as CRFParams.to_json writes them")
    numbers = refine.add_argument_group("parameters (several numbers, one per axis or channel: 1,2,2)")
    numbers.add_argument("--appearance-weight", type=float, metavar="W1")
    numbers.add_argument("--appearance-position-sigma", type=_numbers, metavar="S")
    numbers.add_argument("--appearance-intensity-sigma", type=_numbers, metavar="S")
    numbers.add_argument("--smoothness-weight", type=float, metavar="W2")
    numbers.add_argument("--smoothness-position-sigma", type=_numbers, metavar="S")
    numbers.add_argument("--iterations", type=int, metavar="N")
    numbers.add_argument("--damping", type=float, metavar="D")
    refine.add_argument("--spacing", type=_numbers, metavar="S", help="size of a pixel along each axis")
    refine.add_argument("--channel-axis", type=int, metavar="A", help="axis of the image's channels; guessed for RGB")
    refine.add_argument("--strokes", metavar="FILE", help="0 = free, k = this pixel is class k - 1")
    refine.add_argument("--quiet", action="store_true", help="no progress bar, no remarks")
    return parser


def _refine(options: argparse.Namespace) -> None:
    output = Path(options.output)
    if output.suffix.lower() not in READABLE:
        raise BadInput(f"{output} ends in {output.suffix or 'nothing'}: expected {', '.join(READABLE)}")
    if not output.parent.is_dir():
        raise BadInput(f"{output.parent} is no folder: expected one that exists")
    params = _params(options)
    image = _read(options.image)
    probabilities = _read(options.probabilities)
    strokes = None if options.strokes is None else _read(options.strokes)
    channel_axis = _channel_axis(options.channel_axis, image, probabilities)
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        refiner = Refiner(image, spacing=options.spacing, channel_axis=channel_axis)
        result = _follow(refiner, probabilities, params, strokes, quiet=options.quiet)
    if not options.quiet:
        for remark in remarks:
            print(f"napari-densecrf: {remark.message}", file=sys.stderr)
    _write(output, result.labels)


def _params(options: argparse.Namespace) -> CRFParams:
    """Return the parameters of the file, or the defaults, with single options in their place."""
    if options.params is None:
        base = CRFParams()
    else:
        try:
            base = CRFParams.from_json(Path(options.params).read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise BadInput(f"{options.params}: {_sentence(error)}") from None
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


def _read(name: str) -> NDArray[Any]:
    path = Path(name)
    if path.suffix.lower() not in READABLE:
        raise BadInput(f"{name} ends in {path.suffix or 'nothing'}: expected {', '.join(READABLE)}")
    if not path.is_file():
        raise BadInput(f"{name} is no file")
    try:
        array: NDArray[Any] = (
            np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else tifffile.imread(path)
        )
    except OSError:
        raise
    except Exception as error:
        raise BadInput(f"{name} cannot be read: {_sentence(error)}") from None
    return array


def _channel_axis(given: int | None, image: NDArray[Any], probabilities: NDArray[Any]) -> int | None:
    """Return the axis that was given, or the last where the map shows that it holds 3 or 4 colours."""
    if given is not None or image.ndim < 3 or image.shape[-1] not in (3, 4):
        return given
    spatial = image.shape[:-1]
    return -1 if spatial in (probabilities.shape, probabilities.shape[1:]) else None


def _follow(
    refiner: Refiner, probabilities: NDArray[Any], params: CRFParams, strokes: NDArray[Any] | None, *, quiet: bool
) -> Refinement:
    """Refine with a progress bar on a terminal."""
    with tqdm(total=100, disable=quiet or not sys.stderr.isatty(), bar_format="{l_bar}{bar}| {elapsed}") as bar:
        for step in refiner.steps(probabilities, params, strokes=strokes):
            bar.set_description(step.stage)
            bar.update(round(100 * step.fraction) - bar.n)
            if step.refinement is not None:
                return step.refinement
    raise AssertionError("the last step carries the refinement")


def _write(output: Path, labels: NDArray[Any]) -> None:
    """Write beside the target, then rename: a killed run leaves no half file that looks whole."""
    handle, name = tempfile.mkstemp(suffix=output.suffix.lower(), prefix=f".{output.stem}-", dir=output.parent)
    os.close(handle)
    try:
        if output.suffix.lower() == ".npy":
            np.save(name, labels)
        else:
            tifffile.imwrite(name, labels, compression="zlib")
        # mkstemp makes files private; give this one what any new file has.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
