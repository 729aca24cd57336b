"""Which files of a folder are images, and how their maps are called."""

import pytest

from napari_densecrf.files.batch import files_of, find, pattern_of


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


def test_maps_beside_their_images_are_no_images(tmp_path):
    touch(tmp_path, "a.tif", "a_prob.tif", "b.tif", "b_prob.tif", "notes.txt", ".hidden.tif")
    names = files_of([str(tmp_path)])
    assert len(names) == 4
    pattern = str(tmp_path / "{stem}_prob.tif")
    entries = find([str(tmp_path)], pattern, None, tmp_path / "out", ".tif")
    assert [entry.image for entry in entries] == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
