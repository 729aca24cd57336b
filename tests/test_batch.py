"""Which files of a folder are images, and how their maps are called."""

import pytest

from napari_densecrf import CRFParams
from napari_densecrf.files.batch import Entry, files_of, find, pattern_of, run_all
from napari_densecrf.files.options import Options
from napari_densecrf.files.read import BadInput


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


def test_two_batches_do_not_share_a_folder(tmp_path):
    """The table of the second would be written over that of the first."""
    options, folder = Options(CRFParams()), tmp_path / "out"
    first = run_all([Entry("a.npy", "a_map.npy", None, folder / "a.npy")], options, folder)
    assert not next(first)[0].areas
    second = run_all([Entry("b.npy", "b_map.npy", None, folder / "b.npy")], options, folder)
    with pytest.raises(BadInput, match=r"is in use by process .*: wait for it, or stop it"):
        next(second)
    first.close()
    assert [path.name for path in folder.iterdir()] == ["summary.csv"]
    outcome, is_final = next(run_all([Entry("b.npy", "b_map.npy", None, folder / "b.npy")], options, folder))
    assert is_final
    assert outcome.error == "b.npy is no file"
