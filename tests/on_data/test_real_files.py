"""What microscopes, ilastik and networks wrote runs as it came, alone and in tiles."""

import pytest
import tifffile

from files_written import written
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import Options
from tiles_compared import MIB, agreement

NATIVE = "20210305_NE_mockData5_002"


@pytest.mark.parametrize(
    ("image", "probabilities", "options", "shape"),
    [
        (
            "gala_em_train/native/train-image.h5",
            "gala_em_train/native/train-p1.lzf.h5",
            {"axes": "ZYX"},
            (50, 100, 200),
        ),
        (
            "ilastik_apoptotic/native/2d_cells_apoptotic_1channel.h5",
            "ilastik_apoptotic/native/2d_cells_apoptotic_1channel-data_Probabilities.tif",
            {},
            (1024, 1344),
        ),
        (f"imc_multichannel/native/{NATIVE}.h5", f"imc_multichannel/native/{NATIVE}.tiff", {}, (138, 186)),
        (
            "plantseg_nuclei3d/image.tif",
            "plantseg_nuclei3d/prob.tif",
            {"axes": "ZYX", "spacing": (2.2, 1, 1)},
            (60, 100, 100),
        ),
        ("stardist_3d/image.tif", "stardist_3d/prob.tif", {"axes": "IYX"}, (31, 39, 57)),
        ("scratch_timelapse/image.tif", "scratch_timelapse/prob.tif", {}, (6, 210, 576)),
    ],
)
def test_files_run_as_they_came(data, tmp_path, image, probabilities, options, shape):
    intensity_sigma = (50.0, 50.0, 50.0, 50.0) if "imc" in image else 50.0
    params = CRFParams((PairwiseKernel(4.0, 4.0, intensity_sigma), PairwiseKernel(1.0, 1.0)))
    job = prepare(
        str(data / image), str(data / probabilities), tmp_path / "labels.ome.zarr", Options(params, **options)
    )
    for _ in job.run():
        pass
    labels = written(job.labels.target.path)
    assert labels.shape == shape
    assert labels.max() > 0


@pytest.mark.parametrize(
    ("name", "sigma", "contrast", "spacing"),
    [
        ("dsb_fluo_tissue", 20.0, 10.0, None),
        ("sandstone_4class", 20.0, 10.0, None),
        ("ilastik_apoptotic", 20.0, 10.0, None),
        ("gala_em_train", 4.0, 20.0, None),
        ("plantseg_nuclei3d", 0.5, 30.0, (0.2837, 0.1268, 0.1268)),
    ],
)
def test_tiles_agree_with_the_whole(data, name, sigma, contrast, spacing):
    image, probabilities = (tifffile.imread(data / name / f"{kind}.tif") for kind in ("image", "prob"))
    params = CRFParams((PairwiseKernel(10, sigma, contrast), PairwiseKernel(3.0, sigma / 10)))
    n_tiles, share = agreement(image, probabilities, params, 20 * MIB, spacing=spacing)
    assert n_tiles > 1
    assert share >= 0.999
