"""Labels in tiles beside those of the whole image."""

import napari_densecrf as ndc

MIB = 2**20


def agreement(image, probabilities, params, tile_memory, **options):
    """Return the number of tiles, and the share of labels that the whole image has too."""
    plan_options = {name: value for name, value in options.items() if name != "strokes"}
    plan = ndc.plan_tiles(image, probabilities, params, tile_memory=tile_memory, **plan_options)
    tiled = ndc.refine_tiles(image, probabilities, params, plan=plan, **options).compute()
    whole = ndc.refine(image, probabilities, params, **options).labels
    assert tiled.dtype == whole.dtype
    return plan.n_tiles, (tiled == whole).mean()
