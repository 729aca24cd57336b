"""The balance of more than two classes: from the numbers to the labels, the script and the project."""

import pytest
from napari.components import ViewerModel
from napari.layers import Image
from numpy.testing import assert_array_equal

from driving import picture
from hand_loop import HandLoop, rest
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.session import USER, Session
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
