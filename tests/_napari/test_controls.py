"""The slider keeps exact values."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_densecrf._napari.panel.log_slider import QLogSlider


@pytest.fixture
def slider(qtbot):
    widget = QLogSlider()
    qtbot.addWidget(widget)
    return widget


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(1e-4, 1e6))
def test_any_value_comes_back_exactly(slider, value):
    slider.setValue(value)
    assert slider.value() == value


def test_positions_are_ratios(slider):
    slider.setLimits(1.0, 100.0)
    slider.slider.setValue(200)
    assert slider.value() == pytest.approx(10, rel=1e-3)


def test_the_left_end_is_zero_where_asked(slider):
    slider.setLimits(0.1, 10.0, zero=True)
    slider.slider.setValue(100)
    slider.slider.setValue(0)
    assert slider.value() == 0
    slider.setValue(0.1)
    assert slider.slider.value() > 0


def test_each_change_is_told_once(slider):
    told = []
    slider.valueChanged.connect(told.append)
    slider.setValue(7.25)
    slider.setValue(7.25)
    slider.number.setValue(8.5)
    assert told == [7.25, 8.5]


@pytest.mark.parametrize(("value", "words"), [(0.975, "1.5 px"), (26.0, "40 px"), (1300.0, "2000 px")])
def test_the_pixels_beside_a_number_are_plain_digits(slider, value, words):
    slider.setUnit("µm", 0.65)
    slider.setValue(value)
    assert slider.pixels.text() == words
