"""Which files of a folder are images, and how their maps are called."""

import pytest

from napari_densecrf.files.batch import files_of, find, guess_maps, pattern_of


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()


@pytest.mark.parametrize(
    ("image", "other", "pattern"),
    [
        ("images/a.tif", "maps/a_prob.tif", "maps/{stem}_prob.tif"),
        ("images/a.ome.tif", "images/a.h5", "images/{stem}.h5"),
        ("images/1.tif", "maps/prob 1.npy", "maps/prob {stem}.npy"),
        ("images/1.tif", "maps/10_prob.npy", None),
        ("images/cell.tif", "maps/cells_prob.npy", None),
    ],
)
def test_a_pattern_has_the_stem_where_it_stands_by_itself(image, other, pattern):
    assert pattern_of(image, other) == pattern


@pytest.mark.parametrize(
    ("maps", "others", "pattern"),
    [
        (["maps/{}_prob.tif"], ["maps/{}_mask.tif"], "maps/{stem}_prob.tif"),
        (["images/maps/{}.npy"], ["truth/{}.tif"], "images/maps/{stem}.npy"),
        (["images/{}_Probabilities.h5"], ["images/{}.json"], "images/{stem}_Probabilities.h5"),
        (["unet/{}.tif"], ["refined/{}.tif", "refined/summary.csv"], "unet/{stem}.tif"),
        ([], ["truth/7.tif"], None),
    ],
)
def test_maps_are_guessed_from_the_names_around(tmp_path, maps, others, pattern):
    stems = [str(k) for k in range(1, 13)]
    for name in ["images/{}.tif", *maps, *others]:
        touch(tmp_path, *(name.format(one) for one in stems))
    images = [str(tmp_path / "images" / f"{one}.tif") for one in stems]
    assert guess_maps(images) == (None if pattern is None else str(tmp_path / pattern))


def test_maps_beside_their_images_are_no_images(tmp_path):
    touch(tmp_path, "a.tif", "a_prob.tif", "b.tif", "b_prob.tif", "notes.txt", ".hidden.tif")
    names = files_of([str(tmp_path)])
    assert len(names) == 4
    pattern = guess_maps(names)
    assert pattern == str(tmp_path / "{stem}_prob.tif")
    entries = find([str(tmp_path)], pattern, None, tmp_path / "out", ".tif")
    assert [entry.image for entry in entries] == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
