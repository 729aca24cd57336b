"""Which axis of an image and of its map is what: told from names, from what sums to one, and last from shapes.

Names decide. Where none tell, the axis along which a map sums to one holds its classes. Where that does not tell
either, the usual order is a guess, and is said to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from .values import Kind, Values

MAX_CHANNELS = 64
MAX_CLASSES = 300
# What axes are called, and the letter for it.
NAMES = {
    "T": ("t", "time", "frame", "frames"),
    "Z": ("z", "depth", "plane", "planes", "slice"),
    "Y": ("y", "row", "rows"),
    "X": ("x", "column", "columns"),
    "C": ("c", "channel", "channels", "class", "classes", "label", "labels", "probability", "probabilities"),
}
LETTERS = {name: letter for letter, names in NAMES.items() for name in names}


def letter_of(name: str) -> str:
    """Return the letter of an axis that is called so, or nothing."""
    return LETTERS.get(name.strip().lower(), "")


@dataclass(frozen=True)
class Brought:
    """One array as it came.

    Parameters
    ----------
    name : str
    shape : tuple of int
    letters : tuple of str
        One a axis: T, Z, Y, X, C, or nothing where the axis has no name that tells.
    is_rgb : bool
        Whether the last axis holds colours.
    holds_labels : bool
        Whether it is known to be a segmentation.
    look : callable, optional
        ``look(class_axis)`` tells what its numbers are; None where they must not be read.
    """

    name: str
    shape: tuple[int, ...]
    letters: tuple[str, ...] = ()
    is_rgb: bool = False
    holds_labels: bool = False
    look: Callable[[int | None], Values | None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Let all axes be nameless where none is named."""
        if not self.letters:
            object.__setattr__(self, "letters", ("",) * len(self.shape))


@dataclass(frozen=True)
class Arrangement:
    """How an image and a map make a problem.

    Parameters
    ----------
    spatial : tuple of int
        Axes of the image that are no channels: leading ones, then y and x.
    channel_axis : int, optional
        Of the image.
    class_axis : int, optional
        Of the map.
    n_classes : int
        0 where only the values of a segmentation tell.
    map_spatial : tuple of int
        For each axis in ``spatial``, that of the map; -1 where the map lacks an axis of one pixel.
    values : Values, optional
        What the numbers of the map are, read so.
    doubt : str
        Why this is a guess, as a sentence for the user; empty where it is sure.
    """

    spatial: tuple[int, ...]
    channel_axis: int | None
    class_axis: int | None
    n_classes: int
    map_spatial: tuple[int, ...] = ()
    values: Values | None = None
    doubt: str = ""


def arrangements(image: Brought, source: Brought, *, n_layers: int = 1, any_size: bool = False) -> list[Arrangement]:
    """Return how an image and a map fit, the likeliest first; nothing where they do not.

    Parameters
    ----------
    image, source : Brought
    n_layers : int
        How many layers like ``source`` make the map, one class each.
    any_size : bool
        Whether axes may have other numbers of pixels in the map than in the image: its place tells the rest.
    """
    fits = list(_fits(image, source, n_layers, any_size=any_size))
    ranked = sorted(fits, key=lambda fit: _rank(fit, image, source))
    if not ranked:
        return []
    best, others = ranked[0], ranked[1:]
    rival = next((fit for fit in others if _evidence(fit, image, source) == _evidence(best, image, source)), None)
    if rival is None:
        return ranked
    return [_doubted(best, rival, image), *others]


def _fits(image: Brought, source: Brought, n_layers: int, *, any_size: bool) -> Iterator[Arrangement]:
    for channel_axis in _channel_axes(image):
        spatial = tuple(axis for axis in range(len(image.shape)) if axis != channel_axis)
        if len(spatial) < 2:
            continue
        for class_axis, n_classes, map_spatial in _class_axes(image, source, spatial, n_layers, any_size=any_size):
            values = None if source.look is None or source.holds_labels else source.look(class_axis)
            yield Arrangement(spatial, channel_axis, class_axis, n_classes, map_spatial, values)


def _channel_axes(image: Brought) -> Iterator[int | None]:
    """Give the axes that may hold channels, the usual ones first; None for no channels."""
    n_axes = len(image.shape)
    if image.is_rgb:
        yield n_axes - 1
        return
    if "C" in image.letters:
        yield image.letters.index("C")
        return
    yield None
    for axis in (*range(n_axes - 2), *([n_axes - 1] if n_axes > 2 else [])):
        if image.shape[axis] <= MAX_CHANNELS and not image.letters[axis]:
            yield axis


def _class_axes(
    image: Brought, source: Brought, spatial: tuple[int, ...], n_layers: int, *, any_size: bool
) -> Iterator[tuple[int | None, int, tuple[int, ...]]]:
    """Give the axes of a map that may hold classes, with their number, and the axes that are the image's.

    None stands for a map without an axis of classes.
    """
    wanted = tuple((image.shape[axis], image.letters[axis]) for axis in spatial)
    axes = tuple(range(len(source.shape)))
    aligned = None if "C" in source.letters else _aligned(axes, source, wanted, any_size=any_size)
    if aligned is not None:
        yield None, 0 if source.holds_labels else max(2, n_layers), aligned
    if source.holds_labels or n_layers > 1:
        return
    usual = (0, len(axes) - 1, *range(1, len(axes) - 1)) if axes else ()
    for class_axis in (source.letters.index("C"),) if "C" in source.letters else usual:
        if source.letters[class_axis] in ("", "C") and 2 <= source.shape[class_axis] <= MAX_CLASSES:
            aligned = _aligned(axes[:class_axis] + axes[class_axis + 1 :], source, wanted, any_size=any_size)
            if aligned is not None:
                yield class_axis, source.shape[class_axis], aligned


def _aligned(
    axes: tuple[int, ...], source: Brought, wanted: tuple[tuple[int, str], ...], *, any_size: bool = False
) -> tuple[int, ...] | None:
    """Return which of some axes of a map is each of the image's, or None where they do not fit.

    Axes of one pixel, but for y and x, may be there or not: -1 stands for one that the map lacks.
    """
    left = list(axes)
    found = []
    for number, (size, letter) in enumerate(wanted):
        in_plane = number >= len(wanted) - 2
        n_needed = len(wanted) - number
        # Further axes of one pixel that the image does not have.
        while len(left) > n_needed and source.shape[left[0]] == 1 and size != 1:
            left.pop(0)
        here = left[0] if left else None
        own = None if here is None else source.shape[here]
        # An axis of one pixel is another thing than one of several, however large these are.
        is_size = own == size or (any_size and own != 1 and size != 1)
        if here is not None and is_size and _same_name(source.letters[here], letter):
            found.append(left.pop(0))
        elif size == 1 and not in_plane:
            found.append(-1)
        else:
            return None
    return None if left else tuple(found)


def same_axes(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return which axis of a shape is each of those wanted, -1 for a missing one of one pixel; None if none fits."""
    return _aligned(tuple(range(len(shape))), Brought("", shape), tuple((size, "") for size in wanted))


def _same_name(one: str, other: str) -> bool:
    return not one or not other or one == other


def _evidence(fit: Arrangement, image: Brought, source: Brought) -> tuple[int, int]:
    """Return how much speaks for an arrangement: named axes, and what the map sums to. Larger is more."""
    named = int(fit.channel_axis is not None and (image.is_rgb or image.letters[fit.channel_axis] == "C"))
    named += int(fit.class_axis is not None and source.letters[fit.class_axis] == "C")
    if fit.values is None:
        return named, 0
    if fit.values.kind is not Kind.PROBABILITIES:
        # What sums to 100 along an axis has its classes there all the same.
        return named, 2 if fit.values.kind in (Kind.SCALED, Kind.ONE_HOT) and fit.values.sure else 0
    return named, 3 if fit.class_axis is not None and fit.values.sure else 1


def _rank(fit: Arrangement, image: Brought, source: Brought) -> tuple[int, int, bool, bool, int]:
    named, summed = _evidence(fit, image, source)
    n_axes = len(source.shape)
    usual = {None: 0, 0: 1, n_axes - 1: 2}.get(fit.class_axis, 3)
    # As many channels as classes, in a time-lapse: classes come first or last rather than between.
    return -named, -summed, fit.channel_axis is not None, fit.class_axis is None, usual


def _doubted(best: Arrangement, rival: Arrangement, image: Brought) -> Arrangement:
    """Return the best one as a guess, with what it might be as well."""
    if best.channel_axis != rival.channel_axis:
        axis = best.channel_axis if best.channel_axis is not None else rival.channel_axis
        assert axis is not None
        taken, instead = ("channels", "slices") if best.channel_axis is not None else ("slices", "channels")
        doubt = f"axis {axis + 1} of “{image.name}” is taken for {taken}; it may be {instead}"
    else:
        of_best, of_rival = (
            "none" if fit.class_axis is None else f"axis {fit.class_axis + 1}" for fit in (best, rival)
        )
        doubt = f"the classes are taken to be {of_best} of the map; they may be {of_rival}"
    return replace(best, doubt=doubt)
