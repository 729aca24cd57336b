"""Objects in the window: recognised, live, corrected, kept, applied."""

import shlex
import warnings

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.layers._source import layer_source
from numpy.testing import assert_array_equal
from scipy import ndimage as ndi

import napari_densecrf as ndc
from hand_loop import HandLoop, rest
from napari_densecrf._napari.problem import remedies
from napari_densecrf._napari.problem.problem import CLASSES, METADATA_KEY, OBJECTS, Misfit
from napari_densecrf._napari.problem.request import VOLUME
from napari_densecrf._napari.recipes.command import shell_command
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.runs.objects import start_with_objects
from napari_densecrf._napari.sections.choose import suggesting
from napari_densecrf._napari.sections.correct import frozen_copy
from napari_densecrf._napari.sections.objects import table
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.status import Light
from napari_densecrf._napari.work.runner import Done, Found
from napari_densecrf._napari.work.worker import CHANGES, CONFIDENCE
from napari_densecrf.cli import main


def cells(shape=(60, 80), n=12, depth=None, seed=0, dtype=np.int32):
    """Return an image with bright discs, and rough objects: the discs moved by two pixels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, dtype)
    at = np.indices(shape)
    for k in range(n):
        y, x = 10 + 20 * (k // 4), 10 + 20 * (k % 4)
        truth[(at[0] - y) ** 2 + (at[1] - x) ** 2 <= 36] = 3 * k + 5
    image = ndi.gaussian_filter(60 + 100.0 * (truth > 0), 0.7) + rng.normal(0, 5, shape)
    rough = np.roll(truth, (2, 1), (0, 1))
    if depth is not None:
        image, rough = np.stack([image] * depth), np.stack([rough] * depth)
    return image.astype(np.float32), rough


@pytest.fixture
def start(start_on):
    """Return a function that starts a session on an image and labels and waits for what they give."""

    def listen(session):
        session.said = []
        session.status_changed.connect(session.said.append)

    def start(image, labels, **place):
        viewer = ViewerModel()
        viewer.add_layer(Image(image, name="image", **place))
        viewer.add_layer(Labels(labels, name="cells", **place))
        return start_on(viewer, listen)

    return start


@pytest.mark.parametrize("n", [6, 12])
def test_masks_that_napari_opens_as_an_image_are_one_click_from_their_file(start, tmp_path, n):
    image, rough = cells(n=n, dtype=np.uint16)
    session = start(image, rough)
    session.viewer.layers.clear()
    for name, data in (("image", image), ("image_masks", rough)):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, data)
        with layer_source(path=str(path), reader_plugin="napari"):
            session.viewer.add_layer(Image(data, name=name))
    understood = []
    session.inputs_changed.connect(understood.append)
    session.choose(by=USER, image=session.viewer.layers["image"], map=session.viewer.layers["image_masks"])
    rest(session)
    misfit = understood[-1]
    assert "labels, one number for each class or object" in str(misfit)
    assert remedies.words(misfit) == "Take it as labels"
    session.accept(misfit)
    rest(session)
    assert session.problem.objects
    # A doubt about labels is none about axes.
    assert not session.problem.axes_guessed
    taken = session.viewer.layers["image_masks labels"]
    command = shlex.split(shell_command(session.result, None))
    assert str(tmp_path / "image_masks.tif") in command
    assert main([*command[1:], "--quiet"]) == 0
    assert_array_equal(tifffile.imread(tmp_path / "image_refined.tif"), session.result.labels)
    # What is painted on is no longer what the file has.
    taken.paint((30, 30), 99)
    rest(session)
    with pytest.raises(Misfit, match="The command reads files"):
        shell_command(session.result, None)


def test_many_labels_of_one_piece_are_objects(start):
    image, rough = cells()
    session = start(image, rough)
    assert session.problem.objects
    assert str(session.problem) == "60 x 80 gray, 12 objects, each kept apart"
    numbers = session.numbers
    expected = ndc.refine_objects(image, rough, numbers.balanced_params, border=numbers.border, one_contrast=True)
    assert_array_equal(session.result.labels, expected.labels)
    assert session.result_layer.contour > 0
    assert session.result_layer.dtype == rough.dtype
    assert session.said[-1].light is Light.GREEN
    assert "12 objects" in session.said[-1].words
    found = ndc.suggest_for_objects(image, rough)
    assert numbers.border == pytest.approx(found.border, rel=0.01)


def test_what_labels_are_may_be_said(start):
    image, rough = cells()
    session = start(image, rough)
    session.choose(by=USER, labels_are=CLASSES)
    rest(session)
    assert not session.problem.objects
    assert len(session.result.inputs.names) == 13
    classes = session.numbers
    session.choose(by=USER, labels_are=OBJECTS)
    rest(session)
    assert session.problem.objects
    assert session.numbers != classes


def test_too_many_labels_are_no_classes(start):
    image, _ = cells()
    session = start(image, np.arange(image.size).reshape(image.shape))
    assert session.problem.objects
    understood = []
    session.inputs_changed.connect(understood.append)
    session.choose(by=USER, labels_are=CLASSES)
    rest(session)
    assert "too many for classes: are they objects?" in str(understood[-1])


def test_a_few_labels_of_one_piece_are_a_guess(start):
    image, rough = cells(n=4)
    session = start(image, rough)
    assert session.problem.objects
    assert "4 labels" in session.problem.doubt
    assert session.said[-1].light is Light.AMBER


@pytest.mark.parametrize("scattered", [True, False])
def test_classes_stay_classes(start, scattered):
    image, rough = cells()
    classes = (rough > 0) + (rough > 20) * scattered
    session = start(image, classes.astype(np.uint8))
    assert not session.problem.objects
    assert session.problem.doubt == ""


def test_border_and_balance_build_no_lattice(start):
    image, rough = cells()
    session = start(image, rough)
    refiner = session.engine.objects._refiner
    lattices = refiner.terms.lattices
    for changes in ({"border": 4.0}, {"balance": 1.0}, {"appearance_weight": 5.0}):
        before = session.result
        session.set_numbers(session.numbers.changed(**changes), by=USER)
        rest(session)
        assert session.result is not before
        assert session.engine.objects._refiner is refiner
        assert refiner.terms.lattices == lattices


def test_editing_the_objects_changes_the_result(start):
    image, rough = cells()
    session = start(image, rough)
    layer = session.chosen.map
    layer.fill((2, 2), 99)
    rest(session)
    assert (session.result.labels == 99).any()
    layer.data_setitem((np.array([50, 51]), np.array([70, 70])), 0)
    rest(session)
    assert session.result.inputs.objects[50, 70] == 0


def test_strokes_are_certain(start):
    image, rough = cells()
    session = start(image, rough)
    strokes = Labels(np.zeros(rough.shape, np.uint32), name="strokes")
    session.viewer.add_layer(strokes)
    session.choose(strokes=strokes)
    strokes.data_setitem((np.array([12]), np.array([11])), np.iinfo(np.uint32).max)
    strokes.data_setitem((np.array([58, 58]), np.array([2, 3])), 1000)
    rest(session)
    assert session.result.labels[12, 11] == 0
    assert_array_equal(session.result.labels[58, 2:4], 1000)


def test_extras(start):
    image, rough = cells()
    session = start(image, rough)
    session.request_extra(CONFIDENCE, by=1)
    session.request_extra(CHANGES, by=2)
    rest(session)
    result = session.result
    assert_array_equal(result.confidence, np.round(100 * result.refinement.confidence))
    assert_array_equal(result.changes > 0, result.labels != rough)
    assert_array_equal(result.changes == 2, (rough == 0) & (result.labels > 0))


def test_copied_python_gives_the_same_bits(start):
    image, rough = cells()
    for place in ({}, {"scale": (0.5, 0.5), "units": ("um", "um")}):
        session = start(image, rough, **place)
        names = {"viewer": session.viewer}
        exec(python_script(session.result, None), names)
        assert_array_equal(names["labels"], session.result.labels)


def test_the_copied_command_gives_the_same_labels(start, tmp_path, capsys):
    image, rough = cells()
    for name, array in (("image", image), ("cells", rough)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array)
    session = start(image, rough)
    for layer in session.viewer.layers[:2]:
        layer._source = layer.source.model_copy(update={"path": str(tmp_path / f"{layer.name}.tif")})
    command = shlex.split(shell_command(session.result, None))
    assert "--objects" in command
    assert main(command[1:]) == 0
    refined = tifffile.imread(tmp_path / "image_refined.tif")
    assert_array_equal(refined, session.result.labels)


def test_how_it_was_made_is_kept(start):
    image, rough = cells()
    session = start(image, rough)
    made = session.result_layer.metadata[METADATA_KEY]
    assert made["objects"] is True
    assert made["border"] == session.numbers.border
    assert made["params"] == session.numbers.balanced_params.to_dict()
    assert made["no_label"] is None


def test_auto_chooses_border_and_balance_again(start):
    image, rough = cells()
    session = start(image, rough)
    chosen = session.numbers
    session.set_numbers(chosen.changed(border=9.0, balance=-2.0, appearance_weight=30.0), by=USER)
    rest(session)
    *_, done = suggesting(session.engine, session.request())
    assert isinstance(done, Done)
    assert done.result.border == pytest.approx(chosen.border, rel=0.01)
    assert done.result.params.kernels[0].weight == chosen.appearance_weight


def test_slices_are_refined_one_by_one_and_as_a_volume(start):
    image, rough = cells(depth=5)
    session = start(image, rough)
    assert session.result.labels.shape == (60, 80)
    alone = session.result.labels
    session.choose(slices=VOLUME)
    rest(session)
    assert session.result.refinement.labels.ndim == 3
    # Border and balance are chosen for the volume.
    found = ndc.suggest_for_objects(image, rough)
    assert session.numbers.border == pytest.approx(found.border, rel=0.01)
    assert session.measured.volume
    assert session.result.labels.shape == (60, 80)
    assert (session.result.labels != alone).any()


def test_objects_of_a_film_are_not_coupled(start):
    image, rough = cells(depth=3)
    session = start(image, rough)
    said = []
    session.inputs_changed.connect(said.append)
    session.choose(slices="Coupled in time")
    rest(session)
    assert isinstance(said[-1], Misfit)
    assert "One by one" in str(said[-1])


def test_apply_to_all_slices(start):
    image, rough = cells(depth=3)
    rough[0] = 0
    session = start(image, rough)
    run = start_with_objects(session.request(), session.result.inputs, None, session.viewer)
    for step in run.steps():
        if isinstance(step, Found):
            assert run.take(step.value)
    assert run.n_done == run.n_all == 3
    assert not run.layer.data[0].any()
    assert_array_equal(run.layer.data[1], session.result.labels)
    assert_array_equal(run.layer.data[2], run.layer.data[1])


def test_a_slice_without_objects_is_said_and_the_stack_is_still_one_of_objects(start):
    image, rough = cells(depth=5)
    rough[2] = 0
    session = start(image, rough)
    assert session.problem.objects
    assert session.result is None
    session.viewer.dims.set_point(0, 0)
    rest(session)
    assert (session.result.labels > 0).any()


def test_the_table_has_a_row_an_object(start):
    image, rough = cells()
    session = start(image, rough)
    rows = table(session.result.refinement)
    assert rows["index"].tolist() == sorted(set(rough.ravel().tolist()) - {0})
    session.result_layer.features = rows


def test_two_classes_have_a_balance(start):
    image, rough = cells()
    probabilities = np.stack([1 - 0.8 * (rough > 0), 0.1 + 0.0 * rough]).astype(np.float32)
    probabilities[1] = 1 - probabilities[0]
    viewer = ViewerModel()
    viewer.add_layer(Image(image, name="image"))
    viewer.add_layer(Image(probabilities, name="map"))
    session = Session(viewer, HandLoop())
    session.start()
    rest(session)
    assert session.problem.has_balance
    areas = []
    for balance in (-2.0, 0.0, 2.0):
        session.set_numbers(session.numbers.changed(balance=balance), by=USER)
        rest(session)
        areas.append((session.result.labels == 1).sum())
    assert areas[0] < areas[1] < areas[2]
    names = {"viewer": viewer}
    exec(python_script(session.result, None), names)
    assert_array_equal(names["labels"], session.result.labels)
    session.close()


def test_contours_are_put_aside_in_3d(start):
    image, rough = cells((60, 80), depth=4)
    session = start(image, rough)
    layer, dims = session.result_layer, session.viewer.dims
    width = layer.contour
    assert width > 0
    # napari draws before others hear of the turn, and says once that it draws no contours.
    with pytest.warns(UserWarning, match="Contours are not displayed"):
        dims.ndisplay = 3
    assert layer.contour == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen = frozen_copy(layer)
        session.results.contours.add(frozen, like=layer)
        session.viewer.add_layer(frozen)
        # A layer that comes while the view is in 3D.
        session.viewer.layers.remove(layer)
        session.update()
        rest(session)
        anew = session.result_layer
        assert anew is not layer
        assert anew.contour == 0
    dims.ndisplay = 2
    assert frozen.contour == anew.contour == width
