"""Presets help the kinds of images that they are for."""

import sys
from pathlib import Path

from napari_densecrf._napari.recipes.presets import BUILT_IN

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = {
    "Nuclei and grains": ("dsb", "sandstone", "stardist_2d"),
    "Thin structures": ("gala_em_train, slice",),
    "Noise: smooth only": ("plantseg_nuclei3d, slice",),
}


def test_presets_help_the_kinds_of_images_they_are_for(data, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import presets as benchmark

    n_changes = 0
    for item in benchmark.items(data):
        for preset in BUILT_IN:
            if item.truth.ndim == 2 and item.name.startswith(KINDS.get(preset.name, ())):
                assert benchmark.change(item, preset) > 0.003, (item.name, preset.name)
                n_changes += 1
    assert n_changes >= len(KINDS)
