"""From the axes of files to frames: images that are refined one by one, with their maps and strokes.

Y and X are the axes of a plane, and Z makes it a volume. C is the axis of channels, or of the classes of a map. Every
other axis, as T, counts frames that are refined independently. T is refined together with Y and X where that is asked
for.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.axes import Brought, arrangements
from napari_densecrf.door.spread import look_through
from napari_densecrf.large.dask_arrays import lazy
from napari_densecrf.large.job import Frame
from napari_densecrf.large.object_job import ObjectFrame

from .read import BadInput, Contents

JOINED = "ZYX"
# Numbers of colours, RGB and RGBA, for which the last axis of an image without named axes is that of channels.
COLOURS = (3, 4)


@dataclass(frozen=True)
class Frames:
    """The frames of files as lazy arrays: a `Source`, and an `ObjectSource` where the map holds objects.

    All arrays have one order of axes: first those that count frames, then those of space.

    Parameters
    ----------
    independent, space : str
        Letters of these axes.
    image : dask array
        (*independent, *space), or (*independent, *space, n_channels).
    probabilities : dask array
        (*independent, *space), or (n_classes, *independent, *space); of probabilities, classes or objects.
    strokes : dask array, optional
        (*independent, *space).
    has_channels, has_classes : bool
        Whether the image has the axis of channels, and the map that of classes.
    values : (n_labels,) array of int, optional
        The label of each class; None = the index of the class.
    foreground : dask array, optional
        Of objects: (*independent, *space), the probability that a pixel belongs to any object.
    """

    independent: str
    space: str
    image: Any
    probabilities: Any
    strokes: Any
    has_channels: bool
    has_classes: bool
    values: NDArray[Any] | None = None
    foreground: Any = None

    @property
    def axes(self) -> str:
        """Letters of the axes of the labels."""
        return self.independent + self.space

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        return tuple(self.image.shape[: len(self.axes)])

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of frames along each axis that counts them."""
        return self.shape[: len(self.independent)]

    def frame(self, index: tuple[int, ...]) -> Frame:
        """Return one frame."""
        of_map = (slice(None), *index) if self.has_classes else index
        strokes = None if self.strokes is None else self.strokes[index]
        return Frame(self.image[index], self.probabilities[of_map], strokes, self.values)

    def object_frame(self, index: tuple[int, ...]) -> ObjectFrame:
        """Return one frame, whose map is objects."""
        strokes = None if self.strokes is None else self.strokes[index]
        foreground = None if self.foreground is None else self.foreground[index]
        return ObjectFrame(self.image[index], self.probabilities[index], foreground, strokes)

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels of a frame."""
        return -1 if self.has_channels else None


def lay_out(
    image: Contents,
    probabilities: Contents,
    strokes: Contents | None = None,
    *,
    axes: str | None = None,
    map_axes: str | None = None,
    channel_axis: int | None = None,
    film: bool = False,
    foreground: Contents | None = None,
    objects: bool = False,
) -> Frames:
    """Bring image, map and strokes to one order of axes.

    Parameters
    ----------
    image, probabilities, strokes : Contents
    axes, map_axes : str, optional
        Letters for the axes of the image and of the map, in place of what the files say.
    channel_axis : int, optional
        Axis of the image's channels.
    film : bool
        Whether frames are coupled in time: T is then an axis of space, before Y and X.
    foreground : Contents, optional
        Of objects: the probability that a pixel belongs to any.
    objects : bool
        Whether the map holds objects: one id a pixel.

    Raises
    ------
    BadInput
        Where the axes are not known, or do not fit.
    """
    if objects and axes is None and image.axes is None and channel_axis is None:
        channel_axis = _axis_without_objects(image.pixels.shape, probabilities.pixels.shape)
    letters, pixels = _image_axes(image, probabilities, axes, channel_axis)
    sizes = dict(zip(letters, pixels.shape, strict=True))
    space = "".join(letter for letter in JOINED if letter in letters and (letter != "Z" or sizes["Z"] > 1))
    if film:
        space = _with_time(image, letters, space)
    independent = "".join(letter for letter in letters if letter not in space and letter != "C")
    order = independent + space
    shape = tuple(sizes[letter] for letter in order)
    if objects:
        has_classes, arranged_map = False, _one_a_pixel(probabilities, order, shape, map_axes)
    else:
        has_classes, arranged_map = _arrange(probabilities, order, shape, map_axes)
    arranged_strokes = None if strokes is None else _one_a_pixel(strokes, order, shape)
    arranged_foreground = None if foreground is None else _one_a_pixel(foreground, order, shape)
    has_channels = "C" in letters
    arranged = _transposed(pixels, letters, order + "C" * has_channels)
    return Frames(
        independent,
        space,
        arranged,
        arranged_map,
        arranged_strokes,
        has_channels,
        has_classes,
        foreground=arranged_foreground,
    )


def _one_a_pixel(contents: Contents, order: str, shape: tuple[int, ...], axes: str | None = None) -> Any:
    """Return an array of one number a pixel with the axes of ``order``; raise `BadInput` where it has more."""
    if contents.axes is None and axes is None and contents.pixels.shape == shape:
        return lazy(contents.pixels)
    by_class, arranged = _arrange(contents, order, shape, axes)
    if by_class or arranged.shape != shape:
        raise BadInput(f"{contents.path} has shape {contents.pixels.shape}: expected {shape}, one number a pixel")
    return arranged


def _axis_without_objects(image: tuple[int, ...], objects: tuple[int, ...]) -> int | None:
    """Return the axis that the image has and its objects do not: its channels. Where several fit, the last."""
    axes = [axis for axis in range(len(image)) if image[:axis] + image[axis + 1 :] == objects]
    return axes[-1] if len(image) == len(objects) + 1 == 3 and axes else None


def _with_time(image: Contents, letters: str, space: str) -> str:
    """Return the letters of space with T before them; raise `BadInput` where T cannot be one of them."""
    if "T" not in letters:
        raise BadInput(f"{image.path} has axes {letters}: expected T among them, to couple its frames")
    if "Z" in space:
        raise BadInput(
            f"{image.path} has axes {letters}: volumes cannot be coupled in time, as T, Z, Y, X are too many"
        )
    return f"T{space}"


def _image_axes(
    image: Contents, probabilities: Contents, axes: str | None, channel_axis: int | None
) -> tuple[str, Any]:
    """Return the letters of the image's axes, and its pixels; axes of one pixel are dropped if the file names none."""
    pixels = lazy(image.pixels)
    if pixels.ndim < 2:
        raise BadInput(f"{image.path} has shape {pixels.shape}: expected an image, of two axes or more")
    if axes is not None:
        return _named("--axes", axes, image), pixels
    if image.axes is not None and channel_axis is None:
        if "Z" in image.axes and pixels.shape[image.axes.index("Z")] > 1:
            raise _ambiguous(image, image.axes)
        return _named("its file", image.axes, image), pixels
    if channel_axis is not None:
        if not -pixels.ndim <= channel_axis < pixels.ndim:
            raise BadInput(f"--channel-axis is {channel_axis}: {image.path} has axes 0 to {pixels.ndim - 1}")
        rest = "YX" if pixels.ndim == 3 else image.axes.replace("C", "") if image.axes else ""
        if len(rest) != pixels.ndim - 1:
            raise BadInput(f"{image.path} has shape {pixels.shape}: say what its axes are, as in --axes CZYX")
        channel_axis %= pixels.ndim
        return rest[:channel_axis] + "C" + rest[channel_axis:], pixels
    if pixels.ndim == 3 and pixels.shape[-1] in COLOURS:
        spatial = pixels.shape[:-1]
        if spatial in (probabilities.pixels.shape, probabilities.pixels.shape[1:], probabilities.pixels.shape[:-1]):
            return "YXC", pixels
    kept = tuple(0 if size == 1 else slice(None) for size in pixels.shape)
    if pixels.ndim > 2 and len([one for one in kept if one != 0]) == 2:
        return "YX", pixels[kept]
    if pixels.ndim == 2:
        return "YX", pixels
    channels = _told_channels(image, probabilities)
    if channels is not None and pixels.ndim == 3:
        return "YX"[:channels] + "C" + "YX"[channels:], pixels
    axes = "ZYX" if pixels.ndim == 3 else "TZYX"[-pixels.ndim :]
    if channels is not None and pixels.ndim <= 5:
        axes = "TZYX"[5 - pixels.ndim :]
        axes = axes[:channels] + "C" + axes[channels:]
    raise _ambiguous(image, axes)


def _told_channels(image: Contents, probabilities: Contents) -> int | None:
    """Return the axis of the image that holds channels, if the map tells it.

    It does where it fits the image in one way only, or sums to one along its classes in one way only.
    """
    pixels = lazy(probabilities.pixels)
    source = Brought(
        probabilities.path, pixels.shape, _letters(probabilities), look=lambda axis: look_through(pixels, axis)
    )
    fits = arrangements(Brought(image.path, tuple(image.pixels.shape)), source)
    if not fits or fits[0].doubt or fits[0].class_axis is None:
        return None
    values = fits[0].values
    told = len(fits) == 1 or "C" in source.letters or (values is not None and values.sure)
    return fits[0].channel_axis if told else None


def _letters(contents: Contents) -> tuple[str, ...]:
    """Return the letters of axes, and an empty one for each whose meaning is not known; () if the file names none."""
    return tuple(letter if letter in "TCZYX" else "" for letter in contents.axes or "")


def _ambiguous(image: Contents, axes: str) -> BadInput:
    """Return the error that asks whether Z of these axes is that of a volume, of slices, or of channels."""
    frames = axes.replace("Z", "T", 1) if "T" not in axes else axes.replace("Z", "I", 1)
    channels = f", or --axes {axes.replace('Z', 'C', 1)} where these are channels" if "C" not in axes else ""
    return BadInput(
        f"{image.path} has shape {image.pixels.shape}: say --axes {axes} to refine it as a volume, or "
        f"--axes {frames} for each slice by itself{channels}"
    )


def _named(who: str, axes: str, image: Contents) -> str:
    """Check the letters of axes that ``who``, an option or a file, gives."""
    letters = axes.upper().replace("S", "C")
    if len(letters) != image.pixels.ndim or len(set(letters)) != len(letters) or not set("YX") <= set(letters):
        raise BadInput(
            f"{who} names the axes of {image.path} {axes}: expected {image.pixels.ndim} different letters, among "
            f"them Y and X, for shape {image.pixels.shape}"
        )
    return letters


def _arrange(contents: Contents, order: str, shape: tuple[int, ...], axes: str | None) -> tuple[bool, Any]:
    """Return whether a map has an axis of classes, and the map with the axes of ``order``, or with classes first."""
    pixels = lazy(contents.pixels)
    if axes is not None:
        fitted = _fit(pixels, _named("--map-axes", axes, contents), order, shape)
        if fitted is None:
            raise BadInput(
                f"{contents.path} has shape {pixels.shape}, with --map-axes {axes}: expected {shape} along {order}, to "
                "match the image"
            )
        return fitted
    for letters in (contents.axes, _by_values(contents, order, shape), _by_shape(pixels.shape, order, shape)):
        fitted = None if letters is None else _fit(pixels, letters, order, shape)
        if fitted is not None:
            return fitted
    if len(order) == 2:
        # The solver will say what it expects.
        return pixels.ndim > 2, pixels
    raise BadInput(
        f"{contents.path} has shape {pixels.shape}: expected {shape}, or with an axis for the classes, to match the "
        f"image's {order}"
    )


def _by_values(contents: Contents, order: str, shape: tuple[int, ...]) -> str | None:
    """Return letters for the axes of a map with classes, along which it sums to one; None where there are none.

    Axes of one pixel are no classes.
    """
    long = [(letter, size) for letter, size in zip(order, shape, strict=True) if size > 1]
    pixels = lazy(contents.pixels)
    squeezed = pixels[tuple(0 if size == 1 else slice(None) for size in pixels.shape)]
    if squeezed.ndim != len(long) + 1 or len(long) < 2:
        return None
    image = Brought("image", tuple(size for _, size in long), tuple(letter for letter, _ in long))
    source = Brought(contents.path, squeezed.shape, look=lambda axis: look_through(squeezed, axis))
    # The axes of the image are known by now, and its channels are left out here.
    fits = [fit for fit in arrangements(image, source) if fit.channel_axis is None and fit.class_axis is not None]
    if not fits:
        return None
    if fits[0].doubt:
        warnings.warn(f"{contents.path}: {fits[0].doubt}; --map-axes tells", InputWarning, 2)
    letters = [letter for letter, _ in long]
    letters.insert(fits[0].class_axis or 0, "C")
    rest, spare = iter(letters), iter("abcdefghij")
    return "".join(next(spare) if size == 1 else next(rest) for size in pixels.shape)


def _by_shape(found: tuple[int, ...], order: str, shape: tuple[int, ...]) -> str | None:
    """Return letters for the axes of a map by their sizes; that of classes is the first, or the last, or any that fits.

    None where no letters fit.
    """
    if found == shape:
        return order
    for axis in (0, len(found) - 1, *range(1, len(found) - 1)):
        if found[:axis] + found[axis + 1 :] == shape:
            return order[:axis] + "C" + order[axis:]
    # Axes of one pixel, which the image does not have.
    kept = [size for size in found if size != 1]
    spare = iter("abcdefghij")
    if len(kept) < len(found):
        inner = _by_shape(tuple(kept), order, shape)
        if inner is not None:
            letters = iter(inner)
            return "".join(next(spare) if size == 1 else next(letters) for size in found)
    return None


def _fit(pixels: Any, letters: str, order: str, shape: tuple[int, ...]) -> tuple[bool, Any] | None:
    """Return whether a map of these axes has classes, and the map in the order of the image; None if sizes differ."""
    if len(letters) != pixels.ndim:
        return None
    sizes = dict(zip(letters, pixels.shape, strict=True))
    wanted = dict(zip(order, shape, strict=True))
    if any(sizes.get(letter, 1) != size for letter, size in wanted.items()):
        return None
    if any(size > 1 for letter, size in sizes.items() if letter not in wanted and letter != "C"):
        return None
    has_classes = sizes.get("C", 1) > 1
    # Axes of one element are dropped where the image does not have them, and added where the map does not.
    kept = [letter for letter in letters if letter in wanted or (letter == "C" and has_classes)]
    pixels = pixels[tuple(slice(None) if letter in kept else 0 for letter in letters)]
    missing = [letter for letter in order if letter not in kept]
    pixels = pixels[(*(None for _ in missing), ...)]
    return has_classes, _transposed(pixels, "".join(missing) + "".join(kept), "C" * has_classes + order)


def _transposed(pixels: Any, letters: str, order: str) -> Any:
    return pixels.transpose([letters.index(letter) for letter in order])
