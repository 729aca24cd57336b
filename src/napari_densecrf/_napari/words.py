"""The sentences of the window, in one file so that they can be read through; in the order of the folds of the panel.

A sentence has one fact and the usual word for it, and says what to do. It names a layer or a file in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

# With a space that does not break, as a number and its sign stay on one line.
PERCENT = "\N{NO-BREAK SPACE}%"

# ---- Everywhere

OPEN_IMAGE = "Open an image first."
NOTHING_REFINED = "Nothing has been refined yet."
REFINE_FIRST = "Refine a slice first."
COPIED = "Copied."
CHOOSE_FOLDER = "Choose the folder of the images."
CHOOSE_FIRST = "Choose an image and a map first."

# ---- The folds, and what each is for

FOLD_BALANCE = "Favour one class against the others."
FOLD_WHY = "Why a pixel got its class, how sure that is, and what has changed."
FOLD_BEFORE = "Compare the result with the map, or two sets of numbers."
FOLD_CORRECT = "Paint what you are certain of, find doubtful places, and keep a result."
FOLD_CHOOSE = "Have the numbers chosen: nine to click on, from your strokes, or a preset."
FOLD_KEEP = "Save your work to continue another day, or copy it as a script."
FOLD_ALL = "Refine all slices, all time points, or a folder of images."
FOLD_MORE = "Iterations, how much of a slice is refined, and what the slices of a stack are."
FAVOUR_TIP = "To the right: this class grows against all others; to the left it shrinks. What the map is sure of stays."

OTHER_BALANCE = "another balance of the classes"

# ---- Begin and legend: what to click while there is nothing to refine, and the classes

OPEN_SAMPLE = "Open a sample"
OPEN_SAMPLE_TIP = "Stained tissue with a rough segmentation of three classes, to try things on."
FREE = "not painted"
PAINT_STROKES = "Paint strokes"
PAINT_STROKES_TIP = "Paint a little of each class on the image; a segmentation is made of it."
PAINT_KEYS = "Keys 1 to 9 choose the class, 0 erases. What you paint is certain."
CHIP_OFFERS = "Click to paint with it, to show it alone, or to rename it."
CHIP_PAINTS = "Click to paint with it. The right button offers more."
SHOW_ALL = "Show all classes"
RENAME = "Rename …"
RENAME_TITLE = "Rename a class"
RENAME_ASK = "Name of the class"


def paint_with(name: str) -> str:
    """Return what the menu of a class says that paints with it."""
    return f"Paint “{name}”"


def show_alone(name: str) -> str:
    """Return what the menu of a class says that hides the others."""
    return f"Show “{name}” alone"


def area(share: float) -> str:
    """Return how much of what is shown a class covers."""
    return f"{100 * share:.0f}{PERCENT}" if share == 0 or share >= 0.01 else f"<1{PERCENT}"


def class_area(name: str, before: int, after: int) -> str:
    """Say how large a class was in the map, and is now."""
    return f"{name}: {after:,} pixels; {before:,} in the map."


# ---- Correct: where to look next

NEXT_DOUBTFUL = "Next doubtful place (J)"
NEXT_DOUBTFUL_TIP = "Go to the largest place whose class is unsure, then to the next. A stroke counts most there."


def doubtful_place(n_pixels: int, n_left: int) -> str:
    """Say how large a place is whose class is in doubt, and how many are left."""
    left = f", {n_left} smaller places left" if n_left > 1 else ", 1 smaller place left" if n_left else ""
    return f"{n_pixels:,} pixels in doubt{left}. Paint here what you know."


def no_doubt_left(*, is_stack: bool) -> str:
    """Say that all doubtful places of a slice have been visited."""
    if is_stack:
        return "No other doubtful place in this slice: go to another."
    return "No other doubtful place in what is shown."


# ---- Choose: Auto and Fit

LOOKING = "Looking at the image and the map …"
TRYING = "Trying numbers on the strokes …"
FIT_OF_OWN_STROKES = "The map itself is made from these strokes: a fit needs a map from elsewhere."
MAP_AS_IT_IS = "The map as it is, as both strengths are 0"
FIT_OF_OBJECTS = "Fit is for classes. For objects, Auto chooses from the image and the masks."
FIT_NEEDS_STROKES = "Paint a few strokes in this slice first: at least two of each of two classes."
BETTER_UNREFINED = "The map is better unrefined"
LEAVE = "Leave it as it is: "


def better_unrefined(reason: str) -> str:
    """Say that the map is shown as it is, and why."""
    return f"{BETTER_UNREFINED}, and shown as it is: {reason.removeprefix(LEAVE)}"


def other_numbers(*, decided: bool, is_map: bool) -> str:
    """Return what the button says that switches between what was decided and what was there."""
    if is_map:
        return "Refine it all the same" if decided else "Show the map unrefined"
    return "Back to the numbers before" if decided else "To the numbers that were found"


AUTO_CHOSE = "Auto chose these numbers."
FIT_NOTHING_BETTER = "Fit found no numbers that predict your strokes better than these."
FIT_OTHERS = "Fit chose these numbers: they get as many of your strokes right as those before."


def fit_found(before: float, after: float) -> str:
    """Say how much better the numbers that were found predict strokes."""
    return f"Fit chose these numbers: they get {after:.0%} of unseen strokes right, and those before {before:.0%}."


# ---- Choose: Try nine

TRY_NINE = "Try nine"
TRY_NINE_TIP = "Nine settings around these, on what you see. Click the picture that looks best."
TRYING_NINE = "Trying nine settings …"
CLICK_ONE = "Click the best; nine more around it follow."
NINE_OF_OBJECTS = "Nine settings are tried for classes only. For objects, Auto chooses."
AS_NOW = "as it is"
HALF_STRENGTH = "weaker"
DOUBLE_STRENGTH = "stronger"
SMOOTHER = "smoother"
ROUNDER = "rounder"
HALF_REACH = "less reach"
DOUBLE_REACH = "more reach"
LESS_CONTRAST = "less contrast"
MORE_CONTRAST = "more contrast"


def more_of(name: str) -> str:
    """Name the setting that favours a class."""
    return f"more {name}"


def took(setting: str) -> str:
    """Say which of the nine has been taken."""
    return f"Taken: {setting}."


def nine_tip(setting: str, share: float) -> str:
    """Say of one of nine pictures how much it differs."""
    if setting == AS_NOW:
        return "The numbers of now. Click to close."
    return f"{setting}: {100 * share:.1f}{PERCENT} of the pixels differ. Click to take it."


# ---- Choose: presets

LAST_USED = "Last used numbers"
LAST_USED_FROM = "What you had on the sliders the last time you changed them, for another image or this one."

NEEDS_NAME = "A preset needs a name."


def saved_preset(name: str) -> str:
    """Say that numbers are kept under a name."""
    return f"Saved as “{name}”."


def deleted_preset(name: str) -> str:
    """Say that a preset is gone."""
    return f"Deleted “{name}”."


def imported(name: str) -> str:
    """Say that the numbers of a file are on the sliders."""
    return f"Imported “{name}”."


def exported(options: str) -> str:
    """Say for what the numbers of a file are."""
    return f"Written, for images like this one. For the command line: {options}"


def no_parameters(name: str, why: str) -> str:
    """Say that a file holds something else."""
    return f"“{name}” has no parameters: {why}."


def not_for_sliders(name: str, why: Exception) -> str:
    """Say that the sliders cannot show what a file holds."""
    return f"“{name}” has numbers that the sliders cannot show: {why}."


def not_read(name: str, why: OSError) -> str:
    """Say that the system does not give a file."""
    return f"“{name}” cannot be read: {why.strerror}."


def not_written(name: str, why: OSError) -> str:
    """Say that the system does not take a file."""
    return f"“{name}” cannot be written: {why.strerror}."


# ---- Keep: Restore

SELECT_MADE_HERE = "Select a layer that was made here: a refined, a frozen or a saved one."


def nothing_set(why: Exception) -> str:
    """Say that the numbers of a layer cannot be shown."""
    return f"Nothing was set: {why}."


def restored(name: str, missing: Sequence[str]) -> str:
    """Say whose numbers the sliders have, and which of its inputs are not open."""
    return f"Restored from “{name}”." + (f" Not open: {', '.join(missing)}." if missing else "")


# ---- Keep: copy as Python and as a command

INSTEAD = "use Copy as Python"
TOO_MANY_AXES = f"The command has no letters for so many axes: {INSTEAD}."
BROUGHT_ONTO_THE_IMAGE = f"The map is brought onto the image by its place, which the command does not do: {INSTEAD}."
MADE_OF_STROKES = f"The map was made of strokes, which the command does not do: {INSTEAD}."


def several_layers(n_layers: int) -> str:
    """Say that a map is no single file."""
    return f"The map is {n_layers} layers, and the command reads one file: {INSTEAD}."


def several_channels(n_layers: int) -> str:
    """Say that an image is no single file."""
    return f"The image is {n_layers} layers, and the command reads one file: {INSTEAD}."


def damaged(path: Path, why: Exception) -> str:
    """Say that a project is not as it was saved."""
    said = " ".join(str(why).split())[:100]
    return f"{path} is damaged, and was not opened: {type(why).__name__} {said}".rstrip()


def unsaid_blanks(name: str) -> str:
    """Say that the command would take pixels without a label for a class."""
    return f"“{name}” has pixels without a label, which its file does not say: save it, or {INSTEAD}."


def has_alpha(name: str) -> str:
    """Say that the command would take opacity for a colour."""
    return f"“{name}” has an alpha channel, which the command would take for a colour: {INSTEAD}."


def command_reads_files(name: str) -> str:
    """Say that a layer is in memory alone."""
    return f"The command reads files: save “{name}” as tif or npy, and open that. Or {INSTEAD}."


def refines_more(what: str) -> str:
    """Say that the command does not stop at what is seen."""
    return f"It refines {what}, of which the window shows a part: single pixels may differ."


def not_copied(why: str) -> str:
    """Return what the clipboard holds where nothing can be copied: a comment in Python and in shells."""
    return f"# Not copied: {why}"


# ---- Keep: projects


def offer(saved: str) -> str:
    """Return what the button says that continues the project of an image; a name may be longer than the panel."""
    return f"Continue the project of {saved}"


def offer_tip(name: str) -> str:
    """Say what the button opens that continues a project."""
    return f"Open “{name}”: map, strokes and numbers as they were."


def project_saved(name: str, left_out: Sequence[str], *, is_beside: bool) -> str:
    """Say where a project is, and what it does not hold."""
    where, how = (", beside the image", "Open it, or the image,") if is_beside else ("", "Open it")
    said = f"Saved as “{name}”{where}. {how} to continue."
    if not left_out:
        return said
    return f"{said} Not in it: {_quoted(left_out)}; save that by File > Save Selected Layers."


def earlier_project(name: str, saved: str) -> str:
    """Say that an earlier project would be lost."""
    return f"There is “{name}” of {saved}, which would be lost. Continue it, or click Save project again to replace it."


def project_continued(name: str) -> str:
    """Say that all is as it was."""
    return f"Continued from “{name}”."


def from_nowhere(name: str) -> str:
    """Say that a layer can be neither named nor stored."""
    return f"“{name}” is not in memory and is from no file: save it, open that, and then save the project."


def changed_since(name: str) -> str:
    """Say that pixels are not those of the project."""
    return f"“{name}” has changed since: the result may be another."


def another_shape(name: str, shapes: str, wanted: str) -> str:
    """Say that a file has not the size that the project knows."""
    return f"“{name}” has changed since the project was saved: it is {shapes}, and was {wanted}"


def gone(path: Path) -> str:
    """Say that a file of a project is missing."""
    return f"{path} is no longer there: put it back, or open it from where it is"


def unreadable(path: Path, reader: str | None, why: Exception) -> str:
    """Say that a file of a project is damaged, or its plugin is not installed."""
    return f"{path} cannot be read with {reader}: {why}"


def no_sample(plugin: str, key: str) -> str:
    """Say that a sample is not installed."""
    return f"the sample {key} of {plugin} is not installed"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)


# ---- Run: all slices

LOOKING_HOW_LONG = "Looking how long it will take …"
NO_IMAGE = "There is no image."
TOO_LARGE_FOR_STROKES = "Too large for the memory, and a map from strokes needs it: refine a part of the image."
NEEDS_FILES = 'Too large for the memory. To write to disk instead: pip install "napari-densecrf[files]"'


def progress(n_done: int, n_all: int, n_failed: int = 0) -> str:
    """Say how far a run is."""
    return f"{n_done} of {n_all} done{f', {n_failed} of them failed' if n_failed else ''} …"


def stopped(n_done: int, n_all: int, again: str) -> str:
    """Say how far a run was, and what goes on with it."""
    return f"Stopped after {n_done} of {n_all}; {again} goes on from there."


def applied(n_frames: int, seconds: float, where: str) -> str:
    """Say that a run is done; ``where`` ends the sentence."""
    return f"{f'All {n_frames} done' if n_frames > 1 else 'Done'} in {seconds:.1f} s{where}"


def goes_to(path: Path) -> str:
    """Say where labels go."""
    return f"Too large for the memory: it goes to {path}. "


def folder_done(n_all: int, n_failed: int, first: str, seconds: float, table: Path) -> str:
    """Say how many files are done, and what is wrong with the first that is not."""
    if not n_failed:
        return f"All {n_all} images done in {seconds:.0f} s, see {table}."
    more = "" if n_failed == 1 else ", and others"
    return f"{n_all - n_failed} of {n_all} images done, {n_failed} failed: {first}{more}. See {table}"


def pairs(n_images: int, missing: Sequence[str], *, has_pattern: bool) -> str:
    """Say how many images there are, and which have no map."""
    count = f"{n_images} image{'s' * (n_images > 1)}"
    if not has_pattern:
        return f"{count}: choose the map of one of them."
    if not missing:
        return f"{count}, {'each with its map' if n_images > 1 else 'with its map'}."
    if len(missing) == n_images:
        return f"{count}, but no map is called so."
    return f"{count}, {len(missing)} without a map: {missing[0]}{' …' if len(missing) > 1 else ''}"


# ---- Run: slices that are not refined yet


class Counted(Protocol):
    """How much has been refined, and the words for it."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""


def frozen(name: str, extent: Counted) -> str:
    """Say under which name a result is kept, and how much of it is one."""
    if extent.is_complete:
        return f"Kept as “{name}”."
    return f"Kept as “{name}”: {extent}. The others have no label."


def saved_in_part(name: str, refined: int, n_all: int, none: int) -> str:
    """Say what a file holds where slices are left."""
    return f"“{name}”: {refined} of {n_all} slices refined. The others are {none} in the file, which is no label."


def saved_unfinished(name: str, none: int) -> str:
    """Say what a file holds of a run that was stopped."""
    return f"“{name}”: the run was stopped. What it has not reached is {none} in the file, which is no label."


# ---- Run: a folder; what the command line says, for those who have no options to type

AS_LABELS = "open it with its image and click the button that names it, then run the folder again"
_IN_WINDOW = (
    (r"say --objects [^,;]*, or (?=say --from-labels)", ""),
    (r"say --from-labels [\d.]+( if each number is a class|, or say --objects [^,;]*)?", AS_LABELS),
    (
        r"leave out --from-labels( or --objects)? where these are probabilities",
        "open one of these maps as an image layer",
    ),
    (r"say --axes .*", "open one of these images with its map, and choose in More > Slices what its slices are"),
    (r"say what its axes are, as in --axes \w+", "open one of these images with its map first"),
    (r"say --map-axes \w+ if it is the foreground of two classes", "if it is the foreground of two classes, open it"),
    (r"(; |, )?with --map-axes \w+", ""),
    (r"; --map-axes tells", ""),
    (r"--map-axes names", "the map that is open names"),
    (r"--axes names", "the image that is open names"),
    (r"give --spacing", "give the image a scale in napari"),
)


def for_window(sentence: str) -> str:
    """Return what the command line says of a file, with what to do in the window in place of options."""
    for options, instead in _IN_WINDOW:
        sentence = re.sub(options, instead, sentence)
    return sentence


def of_pair(has_image: bool, has_map: bool) -> str:
    """Say in the table of pairs what is there."""
    return "image and map" if has_image and has_map else "no map of this name" if has_image else "no such image"


def more_pairs(n_more: int) -> str:
    """Say that a table has more rows than it shows."""
    return f"and {n_more} more"


# ---- More: convergence, and what the 3D view does not have

NO_ITERATIONS = "No iterations: the labels are the map's own."
OSCILLATES = "It goes back and forth: move the slider Damping up."
SETTLED = "The labels have settled: more iterations would not change them."
PERHAPS_NOT_SETTLED = "Looking whether more iterations would change the labels …"


def still_to_change(n_pixels: int) -> str:
    """Say how many pixels would get another class."""
    return f"With more iterations {n_pixels:,} pixels would still change: move the slider Iterations up."


FLAT_ONLY = "Only in the 2D view."

# ---- Objects


def object_changed(row: Any, place: int, n_objects: int) -> str:
    """Say what became of one object; ``row`` is one of `ObjectRefinement.report`."""
    said = f"Object {row['id']}: {row['area_before']:,} → {row['area_after']:,} pixels"
    said += f", {row['border_moved']:.0%} of its border moved"
    if row["held"]:
        said += ". Held as it was: the image does not tell it from what is around"
    return f"{said} ({place} of {n_objects})."


def numbers_of_objects(how: str) -> str:
    """Say how the numbers for objects came about."""
    return f"Chosen from image and masks: {how}. The median border moves neither out nor in."


def too_large_for_objects(n_bytes: int) -> str:
    """Say that objects are refined whole, and what refines them in tiles."""
    return (
        f"This would take {n_bytes / 2**30:.0f} GiB, more than is free: the command line refines objects in tiles "
        "(Copy as command)."
    )


def paint_objects(background: int) -> str:
    """Say how strokes on objects are painted."""
    return (
        "Choose an object's number above the brush and paint: what you paint is certain. "
        f"A new number makes a new object; {background} is background."
    )


# ---- The status line

PREPARING = "Preparing: the first use takes up to half a minute, once …"


def preparing(n_steps: int, about: int) -> str:
    """Say how far compiling is."""
    return f"Preparing, once for this kind of image: step {n_steps} of about {about}"


COMPUTING = "computing …"
NOTHING_YET = "Nothing to refine yet"
NOT_LIVE = "Not live: Update refines"
CANCELLED = "Cancelled"
PREVIEW = "preview"
VISIBLE_ONLY = "the visible part only"
NO_VALUE_HERE = "no pixel here has a value, and none gets a label"


def slices_refined(n_refined: int, n_all: int, n_other: int) -> str:
    """Say how many slices are refined."""
    others = f", {n_other} more with other numbers" if n_other else ""
    return f"{n_refined} of {n_all} slices refined{others}"


def a_guess(doubt: str) -> str:
    """Say why what was understood is a guess."""
    return f"A guess: {doubt}"


def lost_area(name: str, share: float) -> str:
    """Say that a class lost much."""
    return f"{name} lost {100 * share:.0f}{PERCENT} of its area"


FAVOUR_LOST_TIP = "Move the balance a little towards this class; again, a little more."
WEAKER = "Weaker"
WEAKER_TIP = "Halve both strengths."


def favour(name: str) -> str:
    """Return what the button says that favours a class."""
    return f"Favour {name}"


def changed(share: float) -> str:
    """Say how many pixels have another class than in the map."""
    return f"{_share(share)} changed"


def class_changed(name: str, growth: float, longer: float) -> str:
    """Say what became of the area and the border of a class; nothing where neither changed by half a percent."""
    parts = [f"area {100 * growth:+.0f}{PERCENT}"] if abs(growth) >= 0.005 else []
    parts += [f"border {100 * longer:+.0f}{PERCENT}"] if abs(longer) >= 0.005 else []
    return f"{name} {', '.join(parts)}" if parts else ""


def part_of_resolution(step: int) -> str:
    """Say that every so many pixels were refined."""
    return f"1/{step} of the resolution, as shown"


def number_of_objects(n_objects: int) -> str:
    """Say how many objects there are."""
    return f"{n_objects:,} objects" if n_objects > 1 else "1 object"


def objects_changed(share: float, growth: float | None) -> str:
    """Say how many pixels of objects changed, and whether objects grew."""
    size = "" if growth is None or abs(growth) < 0.005 else f", area of objects {100 * growth:+.0f}{PERCENT}"
    return f"{_share(share)} of the pixels changed{size}"


def _share(share: float) -> str:
    """Return a share in percent; of few pixels, not 0."""
    return f"<0.1{PERCENT}" if 0 < share < 0.0005 else f"{100 * share:.1f}{PERCENT}"


def objects_held(n_held: int) -> str:
    """Say that objects were left as they were."""
    if n_held == 1:
        return "1 held as it is: the image does not tell it from around"
    return f"{n_held:,} held as they are: the image does not tell them from around"


# ---- What refuses an image or a map

CLASSES_OR_OBJECTS = "labels, one number for each class or object"
OPEN_IMAGE_OR_SAMPLE = "Open an image, or File > Open Sample > Dense CRF."
NEEDS_MAP = "Needs a rough segmentation: a probability map, classes or objects. Or paint a few strokes."
OTHER_AXES_SHOWN = "The view shows other axes than y and x of the image: bring them back (Home, or roll the axes)."
NO_FILM_OF_VOLUMES = "Volumes cannot be coupled in time: three axes are the most. Choose “As a volume” instead."
NO_FILM_OF_OBJECTS = "The borders of objects cannot be coupled in time. Choose “One by one” or “As a volume” instead."
PAINT_TWO_CLASSES = "Paint a few strokes of at least two classes: keys 1 and 2 choose the class."
NO_OBJECT_HERE = "There is no object here."


def not_on_grid(name: str, shapes: str, wanted: str) -> str:
    """Say that a layer is not on the grid of the image."""
    return f"“{name}” is {shapes}: expected {wanted} like the image."


def no_channel_beside(name: str, other: str) -> str:
    """Say that two layers are no channels of one image."""
    return f"“{name}” cannot be a channel beside “{other}”: expected gray layers of one shape, in one place."


def no_probabilities(name: str, reason: str, looks_like: str) -> str:
    """Say what the numbers of a layer look like, which are no probabilities."""
    return f"“{name}” {reason}: {looks_like}."


def layers_apart(name: str, other: str) -> str:
    """Say that the layers of a map do not lie in one place."""
    return f"“{name}” lies elsewhere than “{other}”: expected all layers of a map in one place."


def lies_elsewhere(name: str, other: str) -> str:
    """Say that a map does not lie on its image."""
    return f"“{name}” lies elsewhere than “{other}” and covers none of it: set its translate and scale."


def is_turned(name: str, other: str) -> str:
    """Say that a map is rotated against its image."""
    return f"“{name}” is rotated or sheared against “{other}”: expected a map that lies as the image does."


def needs_classes(name: str, shapes: str, wanted: str, other: str) -> str:
    """Say which shape a map must have."""
    return f"“{name}” is {shapes}: expected {wanted} like “{other}”, with one more axis for the classes, first or last."


def needs_shape_or_place(name: str, shapes: str, wanted: str, other: str) -> str:
    """Say which shape a map must have, or that it must say where it lies."""
    return (
        f"“{name}” is {shapes}: expected {wanted} like “{other}”, with or without an axis for the classes. "
        "Or set scale and translate of a coarser or cropped map, so that it lies on the image."
    )


def too_few_axes(name: str, shapes: str) -> str:
    """Say that an image is no image."""
    return f"“{name}” is {shapes}: expected at least two spatial axes."


def labels_too_large(name: str, largest: int, most: int) -> str:
    """Say that a label passes what can be counted."""
    return f"“{name}” has labels up to {largest}: expected at most {most}."


def too_many_labels(name: str, n_labels: int) -> str:
    """Say that labels are more than classes can be."""
    return f"“{name}” has {n_labels} labels, too many for classes: are they objects? “Labels are” says so."
