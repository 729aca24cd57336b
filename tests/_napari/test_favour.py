"""The balance of more than two classes: from the numbers to the labels, the script and the project."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.testing import assert_array_equal

from driving import picture
from hand_loop import HandLoop, rest
from napari_densecrf._napari.problem.problem import CLASSES
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.work.reading import class_names
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams


@pytest.fixture
def session():
    image, probabilities = picture((40, 50), 3)
    viewer = ViewerModel()
    viewer.add_layer(Image(image, name="image"))
    viewer.add_layer(Image(probabilities, name="map"))
    session = Session(viewer, HandLoop())
    session.start()
    rest(session)
    yield session
    session.close()


def test_a_class_that_is_favoured_grows_and_the_script_says_so(session):
    areas = []
    for by in (-1.0, 0.0, 1.0):
        session.set_numbers(session.numbers.changed(favours=()).favouring(2, 3, by), by=USER)
        rest(session)
        areas.append((session.result.labels == 2).sum())
    assert areas[0] < areas[1] < areas[2]
    assert session.params.label_bias == (0.0, 0.0, 1.0)
    names = {"viewer": session.viewer}
    exec(python_script(session.result, None), names)
    assert_array_equal(names["labels"], session.result.labels)


def test_favours_are_for_as_many_classes_as_there_are():
    numbers = Numbers().favouring(1, 3, 0.5)
    assert numbers.favours == (0.0, 0.5, 0.0)
    assert numbers.params_for(3).label_bias == (0.0, 0.5, 0.0)
    assert numbers.params_for(4).label_bias is None
    assert numbers.params_for(2).label_bias is None
    assert numbers.favouring(1, 3, -0.5).favours == ()
    assert Numbers().favouring(0, 2, 0.5).balance == -0.5
    assert Numbers.of_params(numbers.params_for(3)) == numbers
    assert Numbers.of_params(CRFParams(label_bias=(0.0, 1.0))).balance == 1.0
    assert Numbers().updated({**numbers.as_dict(), "favours": [0.0, 0.5, 0.0]}) == numbers
    assert Numbers().updated({"favours": ["a", 1.0]}) == Numbers()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rough_labels_have_a_balance_once_their_classes_are_known(n_classes):
    image, probabilities = picture((40, 50), n_classes)
    # Scattered, so that nobody takes them for objects.
    rough = 5 * probabilities.argmax(axis=0)
    rough[::7, ::5] = 5
    viewer = ViewerModel()
    viewer.add_layer(Image(image, name="image"))
    viewer.add_layer(Labels(rough, name="rough"))
    session = Session(viewer, HandLoop())
    session.choose(labels_are=CLASSES)
    session.start()
    rest(session)
    try:
        assert session.problem.n_balanced == n_classes
        assert class_names(session.problem.map, n_classes) == [f"label {5 * k}" for k in range(n_classes)]
        areas = []
        for by in (-1.5, 1.5):
            session.set_numbers(session.numbers.changed(balance=0.0, favours=()).favouring(1, n_classes, by), by=USER)
            rest(session)
            assert len(session.result.request.params.label_bias) == n_classes
            areas.append((session.result.labels == 5).sum())
        assert areas[0] < areas[1]
        # One more class: the balance was that of others.
        changed = np.array(rough)
        changed[:6, :6] = 77
        viewer.layers["rough"].data = changed
        rest(session)
        assert session.problem.n_balanced == n_classes + 1
        assert session.result.request.params.label_bias is None
        assert 77 in session.result.labels
    finally:
        session.close()
