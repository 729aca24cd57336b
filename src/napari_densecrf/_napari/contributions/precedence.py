"""napari offers the writers of plugins in the order in which it has met them, its own first.

Its own writer of labels keeps nothing but the pixels. Layers that are made here are saved by File > Save Selected
Layers with how they were made, in whatever way the user gets there, only where this plugin's writers come first.
"""

from __future__ import annotations

from npe2 import PluginManager

PLUGIN = "napari-densecrf"


def offer_first() -> None:
    """Have this plugin's writers offered before others that take the same layers and files.

    npe2 has no setting for it. Where a later version keeps its list elsewhere, the order stays as it is, and this
    plugin's writers are one filter below.
    """
    index = getattr(PluginManager.instance(), "_contrib", None)
    writers = getattr(index, "_writers", None)
    if isinstance(writers, list):
        # In place, and stable: the order of all others stays.
        writers.sort(key=lambda entry: entry[-1].plugin_name != PLUGIN)
