"""Parameters proposed from the map alone, and fitted to strokes."""

from dataclasses import replace
from importlib import import_module
from itertools import islice

import numpy as np
import pytest
from scipy import ndimage

import napari_densecrf as ndc
from cases import noisy_map
from napari_densecrf.choose.doubt import IS_FIRST, MIDDLES, N_BINS, bins_of, doubt_of
from napari_densecrf.choose.suggest import Effect, best_of

# The module: the package has a function of its name.
fit = import_module("napari_densecrf.choose.fit")
GENTLE = ndc.CRFParams((ndc.PairwiseKernel(1.0, 8.0, 12.0), ndc.PairwiseKernel(0.5, 1.0)))
HARSH = ndc.CRFParams((ndc.PairwiseKernel(20.0, 30.0, 400.0), ndc.PairwiseKernel(5.0, 4.0)))


def blobs(size=72, seed=3):
    """Return an image of bright blobs, their classes, and a speckled map."""
    rng = np.random.default_rng(seed)
    truth = (ndimage.gaussian_filter(rng.normal(size=(size, size)), 6) > 0.02).astype(int)
    image = (60 + 100 * truth + rng.normal(0, 6, truth.shape)).astype(np.float32)
    return image, truth, noisy_map(truth, 2, seed, blur=1.0, noise=1.2)


def strokes_on(truth, n_strokes, seed=0, length=7):
    """Return straight strokes inside the classes, in turn."""
    rng = np.random.default_rng(seed)
    strokes = np.zeros(truth.shape, np.uint8)
    for k in range(n_strokes):
        label = k % (truth.max() + 1)
        inside = ndimage.binary_erosion(truth == label, np.ones((1, length + 2)))
        inside &= ~ndimage.binary_dilation(strokes > 0, np.ones((5, length + 5)))
        rows, columns = np.nonzero(inside)
        pick = rng.integers(len(rows))
        strokes[rows[pick], columns[pick] - length // 2 : columns[pick] + length // 2 + 1] = label + 1
    return strokes


def mean_iou(truth, labels):
    classes = np.unique(truth)
    return np.mean([((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in classes])


# --- fit ---


def test_fit_finds_better_values_than_a_harsh_start():
    image, truth, probabilities = blobs()
    found = ndc.fit(image, probabilities, strokes_on(truth, 8), HARSH)
    assert found.agreement_after > found.agreement_before
    assert found.n_evaluations == 70
    before = ndc.refine(image, probabilities, HARSH).labels
    after = ndc.refine(image, probabilities, found.params).labels
    assert mean_iou(truth, after) > mean_iou(truth, before) + 0.1


def n_wrong(labels, strokes, label):
    """Return how many strokes of a class are mostly of another."""
    apart, count = ndimage.label(strokes == label + 1, np.ones((3, 3)))
    return sum((labels[apart == k] == label).mean() < 0.5 for k in range(1, count + 1))


def at_errors(truth, labels, n_strokes):
    """Return short strokes in the largest wrong regions, the classes in turn."""
    strokes = np.zeros(truth.shape, np.uint8)
    for label in (0, 1):
        regions, _ = ndimage.label((truth == label) & (labels != label))
        for region in np.argsort(-np.bincount(regions.ravel())[1:])[: n_strokes // 2] + 1:
            rows, columns = np.nonzero(regions == region)
            strokes[rows[:4], columns[:4]] = label + 1
    return strokes


def drawn_wide(size=96, seed=3, log_odds=1.0):
    """Return an image of blobs, their classes, and a map that draws all of them too wide."""
    image, truth, _ = blobs(size, seed)
    rng = np.random.default_rng(seed)
    depth = ndimage.distance_transform_edt(truth) - ndimage.distance_transform_edt(1 - truth)
    noise = ndimage.gaussian_filter(rng.normal(size=truth.shape), 3)
    foreground = 1 / (1 + np.exp(-(0.8 * depth + 2 * noise / noise.std() + log_odds)))
    return image, truth, np.stack([1 - foreground, foreground]).astype(np.float32)


MAPS = [blobs(48, 1), blobs(48, 4), drawn_wide(64, 1, 1.0), drawn_wide(64, 2, -1.0), drawn_wide(64, 3, 1.5)]


@pytest.mark.parametrize("start", [None, GENTLE, HARSH, ndc.CRFParams((ndc.PairwiseKernel(0.0, 2.0),))])
@pytest.mark.parametrize("number", range(len(MAPS)))
@pytest.mark.parametrize("errors", [False, True])
def test_fit_has_no_more_strokes_of_any_class_wrong_than_the_map(start, number, errors):
    """Whatever the balance that it finds, and wherever strokes were drawn; and no image is harmed."""
    image, truth, probabilities = MAPS[number]
    labels = probabilities.argmax(axis=0)
    strokes = at_errors(truth, labels, 8) if errors else strokes_on(truth, 8, number)
    found = ndc.fit(image, probabilities, strokes, start)
    refined = ndc.refine(image, probabilities, found.params).labels
    for label in (0, 1):
        assert n_wrong(refined, strokes, label) <= n_wrong(labels, strokes, label)
    assert mean_iou(truth, refined) > mean_iou(truth, labels) - 0.015
    assert found.better_unrefined == ("by the map alone, and" in found.reason)
    assert (found.params.label_bias is not None) == ("the balance favours" in found.reason) or found.params == start


@pytest.mark.parametrize("errors", [False, True])
def test_fit_moves_the_balance_of_a_map_that_is_drawn_too_wide(errors):
    image, truth, probabilities = drawn_wide(log_odds=2.0)
    labels = probabilities.argmax(axis=0)
    strokes = at_errors(truth, labels, 10) if errors else strokes_on(truth, 10)
    found = ndc.fit(image, probabilities, strokes)
    assert found.params.label_bias is None or found.params.label_bias[1] < 0
    refined = ndc.refine(image, probabilities, found.params).labels
    assert mean_iou(truth, refined) > mean_iou(truth, labels) + 0.05


def test_fit_gives_the_same_answer_twice():
    image, truth, probabilities = blobs(40)
    strokes = strokes_on(truth, 6)
    assert ndc.fit(image, probabilities, strokes, HARSH) == ndc.fit(image, probabilities, strokes, HARSH)


@pytest.mark.parametrize(
    ("n_strokes", "words"), [(0, "there are none"), (1, "there is one"), (2, "All 2 strokes are on one class")]
)
def test_fit_says_when_strokes_are_too_few(n_strokes, words):
    image, _, probabilities = blobs(40)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[5, 5 : 5 + 10 * n_strokes : 10] = 1
    found = ndc.fit(image, probabilities, strokes, GENTLE)
    assert words in found.reason
    assert found.params == GENTLE
    assert found.agreement_before is found.agreement_after is None


def test_fit_of_one_class_alone_proposes_what_auto_does():
    image, truth, probabilities = blobs(40)
    strokes = np.where(truth == 1, strokes_on(truth, 6), 0)
    found = ndc.fit(image, probabilities, strokes)
    assert found.params == ndc.suggest(image, probabilities).params
    assert found.reason.endswith("draw some on another, too. Until then this is what Auto proposes.")
    nothing = ndc.fit(np.zeros((30, 30)), np.full((30, 30), 0.1), np.zeros((30, 30), int))
    assert nothing.better_unrefined
    assert nothing.agreement_after is None


def test_a_stroke_is_not_shown_while_it_is_the_measure():
    """Strokes against the map and the image: only where they are constraints do they get their class."""
    image = np.zeros((24, 24), np.float32)
    probabilities = np.full((2, 24, 24), 0.01, np.float32)
    probabilities[0] = 0.99
    strokes = np.zeros((24, 24), np.uint8)
    strokes[4, 2:6] = 1
    strokes[18, 2:6] = 2
    still = ndc.CRFParams((ndc.PairwiseKernel(0.0, 1.0),))
    assert ndc.fit(image, probabilities, strokes, still).agreement_before == 0.5


def thin_vessels():
    """Return noise, a sure map of vessels of one pixel that it does not show, and strokes on them and between."""
    rng = np.random.default_rng(2)
    image = rng.normal(100, 30, (48, 48)).astype(np.float32)
    truth = np.zeros(image.shape, int)
    truth[4::8] = 1
    probabilities = np.stack([np.where(truth, 0.03, 0.97), np.where(truth, 0.97, 0.03)]).astype(np.float32)
    strokes = np.zeros(image.shape, np.uint8)
    for k, row in enumerate((4, 12, 20, 28, 36)):
        strokes[row, 3 + 7 * k : 13 + 7 * k] = 2
        strokes[row + 4, 3 + 7 * k : 13 + 7 * k] = 1
    return image, truth, probabilities, strokes


@pytest.mark.parametrize("on_parts", [False, True])
def test_fit_can_end_in_the_map_as_it_is(monkeypatch, on_parts):
    image, truth, probabilities, strokes = thin_vessels()
    if on_parts:
        monkeypatch.setattr(fit, "LARGEST_WHOLE", 1200)
        monkeypatch.setattr(fit, "LARGEST", 1200)
    found = ndc.fit(image, probabilities, strokes, HARSH)
    assert found.better_unrefined
    assert "by the map alone" in found.reason
    assert found.agreement_after == 1 > found.agreement_before
    np.testing.assert_array_equal(ndc.refine(image, probabilities, found.params).labels, truth)
    # A bias of classes is no part of the map.
    biased = ndc.fit(image, probabilities, strokes, replace(HARSH, label_bias=(0.0, 9.0)))
    assert biased.better_unrefined
    assert biased.params.label_bias is None
    # Where refining helps, it is refined.
    image, truth, probabilities = blobs(40)
    assert not ndc.fit(image, probabilities, strokes_on(truth, 6), HARSH).better_unrefined


def test_fit_keeps_what_it_does_not_search():
    image, truth, probabilities = blobs(40)
    start = ndc.CRFParams(
        (ndc.PairwiseKernel(20.0, (30.0, 15.0), 400.0), ndc.PairwiseKernel(5.0, 4.0)), [[0, 2], [2, 0]], 3, 0.2
    )
    found = ndc.fit(image, probabilities, strokes_on(truth, 6), start).params
    assert found != start
    assert (found.compatibility, found.n_iterations, found.damping) == (start.compatibility, 3, 0.2)
    y, x = found.kernels[0].position_sigma
    assert y / x == pytest.approx(2)


def test_fit_can_be_stopped_with_the_best_so_far():
    image, truth, probabilities = blobs(40)
    steps = list(islice(ndc.fit_steps(image, probabilities, strokes_on(truth, 6), HARSH), 30))
    assert all(step.fit is None for step in steps)
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert steps[-1].best.params != HARSH
    assert steps[-1].best.agreement_after > steps[-1].best.agreement_before


def test_fit_looks_around_the_strokes_of_a_large_image():
    image, truth, probabilities = blobs(48)
    big, far = np.zeros((3, 600, 600), np.float32), np.zeros((600, 600), np.uint8)
    big[0], big[1, :, :], big[2] = 60, 0.9, 0.1
    big[0, 300:348, 20:68] = image
    big[1:, 300:348, 20:68] = probabilities
    far[300:348, 20:68] = strokes_on(truth, 6)
    found = ndc.fit(big[0], big[1:], far, HARSH)
    assert found.agreement_after > found.agreement_before


def test_fit_takes_channels_foreground_maps_and_volumes():
    image, truth, probabilities = blobs(40)
    strokes = strokes_on(truth, 6)
    foreground = ndc.fit(np.stack([image, image]), probabilities[1], strokes, HARSH, channel_axis=0)
    assert foreground.agreement_after > foreground.agreement_before
    volume = ndc.fit(
        np.stack([image] * 4), np.stack([probabilities] * 4, 1), np.stack([strokes] * 4), HARSH, spacing=(2, 1, 1)
    )
    assert volume.agreement_after > volume.agreement_before


def test_fit_sees_strokes_that_are_rings_on_a_large_image():
    image, truth, probabilities = blobs(540)
    radius = np.hypot(*(np.indices(truth.shape) - 270))
    strokes = (np.abs(radius - 110) < 1) + 2 * (np.abs(radius - 140) < 1)
    assert 0 < ndc.fit(image, probabilities, strokes, GENTLE).agreement_before < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strokes": np.zeros((5, 5), int)}, "strokes have shape"),
        ({"strokes": np.full((40, 40), 3)}, "strokes hold 3"),
        ({"probabilities": np.zeros((2, 5, 5))}, "probabilities have shape"),
        ({"start": ndc.CRFParams(())}, "start has no kernels"),
        ({"channel_axis": 4}, "channel_axis is 4"),
    ],
)
def test_fit_refuses_what_does_not_fit(change, words):
    image, truth, probabilities = blobs(40)
    given = {"image": image, "probabilities": probabilities, "strokes": strokes_on(truth, 4), "start": GENTLE} | change
    with pytest.raises(ValueError, match=words):
        ndc.fit(**given)


# --- how far a map is right ---


def pixels_and_strokes(shift, seed, n_strokes, *, errors):
    """Return how many pixels have which log-odds, and strokes on them, where the truth's log-odds are shifted."""
    rng = np.random.default_rng(seed)
    log_odds = np.clip(rng.normal(-1, 2, 20000), -4.9, 4.9)
    truth = rng.random(20000) < 1 / (1 + np.exp(-(log_odds + shift)))
    bins = bins_of(np.stack([1 / (1 + np.exp(log_odds)), 1 / (1 + np.exp(-log_odds))]), (log_odds > 0).astype(int))
    strokes, classes = np.zeros((n_strokes, N_BINS)), np.arange(n_strokes) % 2
    for stroke, label in enumerate(classes):
        of_class = (truth == label) & ((log_odds > 0) != label) if errors else truth == label
        strokes[stroke, rng.choice(bins[of_class])] = 1
    wrong = (truth & (log_odds < 0)).sum(), (~truth & (log_odds > 0)).sum()
    return np.bincount(bins, minlength=N_BINS).astype(float), strokes, classes, wrong


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("shift", [-1.5, 0.0, 1.5])
def test_strokes_tell_how_many_pixels_a_map_has_wrong_wherever_they_are(shift, errors):
    pixels, strokes, classes, wrong = pixels_and_strokes(shift, 0, 400, errors=errors)
    doubt = doubt_of(pixels, strokes, classes, at_errors=errors)
    assert doubt.weights.sum() == pytest.approx(1)
    told = [side @ doubt.weights for side in doubt.wrong(pixels)]
    np.testing.assert_allclose(told, wrong, rtol=0.4)


def test_strokes_at_errors_taken_for_a_fair_sample_would_mislead():
    pixels, strokes, classes, wrong = pixels_and_strokes(0.0, 0, 400, errors=True)
    missed, added = doubt_of(pixels, strokes, classes, at_errors=False).wrong(pixels)
    weights = doubt_of(pixels, strokes, classes, at_errors=False).weights
    assert missed @ weights + added @ weights > 1.4 * sum(wrong)


def test_more_strokes_leave_less_doubt():
    spread = []
    for n_strokes in (20, 100, 400):
        pixels, strokes, classes, _ = pixels_and_strokes(1.0, 1, n_strokes, errors=True)
        doubt = doubt_of(pixels, strokes, classes, at_errors=True)
        missed, _ = doubt.wrong(pixels)
        spread.append(missed @ doubt.weights - doubt.lower_bound(missed, 1.0))
    assert spread == sorted(spread, reverse=True)


def test_bins_are_on_the_side_of_the_label():
    first = np.array([0.5, 0.5, 0.999999, 1e-6, 0.6], np.float32)
    labels = np.array([0, 1, 0, 1, 0])
    bins = bins_of(np.stack([first, 1 - first]), labels)
    np.testing.assert_array_equal(IS_FIRST[bins], labels == 0)
    assert bins[2] == 0
    assert bins[3] == N_BINS - 1
    assert MIDDLES[bins[4]] == pytest.approx(-0.4, abs=0.2)


# --- suggest ---


def test_a_suggestion_mends_a_speckled_map():
    image, truth, probabilities = blobs()
    suggestion = ndc.suggest(image, probabilities)
    assert "would change" in suggestion.reason
    refined = ndc.refine(image, probabilities, suggestion.params).labels
    assert mean_iou(truth, refined) > mean_iou(truth, probabilities.argmax(axis=0)) + 0.05


def test_a_suggestion_is_the_same_twice():
    image, _, probabilities = blobs(40)
    assert ndc.suggest(image, probabilities) == ndc.suggest(image, probabilities)


def test_a_suggestion_follows_the_units_of_the_image():
    image, _, probabilities = blobs(48)
    plain = ndc.suggest(image, probabilities).params
    scaled = ndc.suggest(image * 200, probabilities).params
    assert scaled.kernels[0].intensity_sigma == pytest.approx(200 * plain.kernels[0].intensity_sigma, rel=0.01)
    before = ndc.refine(image, probabilities, plain).labels
    assert (before == ndc.refine(image * 200, probabilities, scaled).labels).mean() > 0.999


def test_a_suggestion_follows_the_spacing():
    image, _, probabilities = blobs(48)
    pixels, microns = ndc.suggest(image, probabilities), ndc.suggest(image, probabilities, spacing=0.25)
    assert microns.params.kernels[0].position_sigma == 0.25 * pixels.params.kernels[0].position_sigma


def vessels(contrast, noise, size=96):
    """Return an image of lines two pixels wide, their classes, and a sure map that has them well."""
    rng = np.random.default_rng(2)
    truth = np.zeros((size, size), int)
    for row in range(8, size - 8, 11):
        truth[row : row + 2] = 1
        truth[:, row : row + 2] = 1
    image = 100 + contrast * truth + rng.normal(0, noise, truth.shape)
    foreground = ndimage.gaussian_filter(truth.astype(float), 0.7)
    return image, truth, np.stack([1 - foreground, foreground])


@pytest.mark.parametrize(("contrast", "noise"), [(0, 10), (-5, 20), (10, 20), (60, 5)])
def test_thin_vessels_are_left_alone_or_kept(contrast, noise):
    """Faint vessels that the image hardly shows, and clear ones that a long reach would empty."""
    image, truth, probabilities = vessels(contrast, noise)
    suggestion = ndc.suggest(image, probabilities)
    assert suggestion.params is not None or suggestion.reason.startswith("Leave it as it is")
    labels = probabilities.argmax(axis=0)
    refined = labels if suggestion.params is None else ndc.refine(image, probabilities, suggestion.params).labels
    assert mean_iou(truth, refined) > mean_iou(truth, labels) - 0.01


def test_an_image_that_contradicts_the_map_has_no_suggestion():
    """Noise alone: what pixels look like says nothing of their class, and would be printed into the labels."""
    _, truth, _ = blobs()
    image = np.random.default_rng(0).normal(100, 20, truth.shape)
    sure = ndc.probabilities_from_labels(truth, 0.8)
    suggestion = ndc.suggest(image, sure)
    assert suggestion.params is None
    assert suggestion.reason.startswith("Leave it as it is")


def test_a_flat_image_and_a_sure_map_have_no_suggestion():
    sure = np.stack([np.full((30, 30), 0.99), np.full((30, 30), 0.01)])
    assert ndc.suggest(np.zeros((30, 30)), sure) == ndc.Suggestion(
        None, "Leave it as it is: the map and the image agree, and no pixel would change."
    )


def effect(**changes):
    """Return what a setting does, clearly and without objection unless changed."""
    clear = {"changed": 0.02, "contrast": 3.0, "likeness": 0.3, "roughness": 0.9, "doubtful_loss": 0.09}
    clear |= {"thin_change": 0.0, "edges": 0.3}
    return Effect(**{"params": GENTLE, **clear, **changes})


@pytest.mark.parametrize(
    ("likeness", "doubtful_loss", "passes"),
    [(0.4, 0.1, True), (0.4, 0.11, False), (0.45, 0.07, True), (0.45, 0.08, False), (0.499, 0.05, True)],
)
def test_a_class_may_lose_less_where_changes_are_less_clear(likeness, doubtful_loss, passes):
    assert (effect(likeness=likeness, doubtful_loss=doubtful_loss).objection is None) == passes


@pytest.mark.parametrize(
    ("thin_change", "edges", "passes"), [(0.03, 0.1, True), (0.05, 0.1, False), (0.3, 0.2, True), (0.0, -0.1, False)]
)
def test_a_thin_class_keeps_its_area_unless_edges_are_clear(thin_change, edges, passes):
    assert (effect(thin_change=thin_change, edges=edges).objection is None) == passes


@pytest.mark.parametrize(
    ("likeness", "edges", "passes"), [(0.2, 0.3, True), (0.35, 0.3, False), (0.2, 0.1, False), (0.29, 0.18, True)]
)
def test_a_balance_must_be_clearer_than_kernels_alone(likeness, edges, passes):
    balanced = replace(GENTLE, label_bias=(0.0, 0.6))
    assert (effect(params=balanced, likeness=likeness, edges=edges).objection is None) == passes
    assert effect(likeness=likeness, edges=edges).objection is None
    found = best_of([effect(params=balanced, likeness=likeness, edges=edges)])
    assert ("favours class 2" in found.reason) == passes


def test_a_weak_setting_is_proposed_where_a_strong_one_would_cost_a_class():
    strong = effect(params=HARSH, changed=0.1, doubtful_loss=0.2)
    assert best_of([strong, effect()]).params == GENTLE
    assert best_of([effect(params=HARSH, changed=0.1), effect()]).params == HARSH
    assert best_of([strong]).params is None


def test_a_suggestion_can_be_stopped():
    image, _, probabilities = blobs(40)
    steps = list(islice(ndc.suggest_steps(image, probabilities), 12))
    assert all(step.suggestion is None for step in steps)
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert isinstance(steps[-1].best, ndc.CRFParams)


def test_suggest_takes_colour_channels_classes_foreground_and_volumes():
    image, truth, probabilities = blobs(40)
    colour = np.stack([image, 255 - image, image], -1).clip(0, 255).astype(np.uint8)
    assert ndc.suggest(colour, probabilities, channel_axis=-1).params is not None
    channels = ndc.suggest(np.stack([image, 3 * image]), probabilities[1], channel_axis=0)
    assert channels.params is not None
    classes = truth + truth[::-1]
    three = noisy_map(classes, 3, 4, blur=0.7, noise=1.0)
    assert ndc.suggest(image + image[::-1], three).params is not None
    volume = ndc.suggest(np.stack([image] * 4), np.stack([probabilities] * 4, 1), spacing=(2, 1, 1))
    assert volume.params is not None


def test_a_large_image_is_judged_by_parts_and_read_nowhere_else():
    class Watched:
        """An array that counts what is read of it."""

        def __init__(self, array):
            self.array, self.shape, self.ndim, self.read = array, array.shape, array.ndim, 0

        def __getitem__(self, index):
            part = self.array[index]
            self.read += part.size
            return part

    image, _, probabilities = blobs(64)
    large = Watched(np.tile(image, (16, 16)))
    suggestion = ndc.suggest(large, np.tile(probabilities, (1, 16, 16)))
    assert suggestion.params is not None
    assert large.read <= 1 << 18


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": np.zeros((2, 5, 5))}, "probabilities have shape"),
        ({"probabilities": np.zeros((1, 40, 40))}, "expected at least 2"),
        ({"probabilities": np.zeros((2, 40, 40), bool)}, "probabilities_from_labels"),
        ({"channel_axis": 4}, "channel_axis is 4"),
        ({"image": np.full((40, 40), np.nan)}, "NaN"),
        ({"spacing": (1, 2, 3)}, "spacing has 3 numbers"),
    ],
)
def test_suggest_refuses_what_does_not_fit(change, words):
    image, _, probabilities = blobs(40)
    given = {"image": image, "probabilities": probabilities} | change
    with pytest.raises(ValueError, match=words):
        ndc.suggest(**given)
