"""The keys of the widget: none that napari, its layers or the user have."""

from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Surface, Tracks, Vectors
from napari.settings import get_settings
from napari.utils.shortcuts import default_shortcuts

from driving import image_layer, picture, settle

LAYERS = (Layer, Image, Labels, Points, Shapes, Surface, Tracks, Vectors)


def keys_of_napari():
    """Return every key that napari binds on the viewer, on any kind of layer and in its menus, and the user's own."""
    shortcuts = [*default_shortcuts.values(), *get_settings().shortcuts.shortcuts.values()]
    keys = {str(key) for bound in shortcuts for key in bound}
    keys |= {str(key) for kind in (ViewerModel, *LAYERS) for key in kind.class_keymap}
    return keys | {str(binding.keybinding) for binding in get_app_model().keybindings}


def test_no_key_is_one_of_napari(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    theirs = keys_of_napari()
    # The walk has found them: of the viewer, of labels, of images, of menus.
    assert {"Ctrl+G", "P", "1", "O"} <= theirs
    assert {"Ctrl+Z", "Ctrl+Q"} <= theirs
    ours = {str(key) for key in viewer.keymap}
    assert ours == {"G", "H", "J", "K", "N", "U", "W"}
    assert not ours & theirs
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    # The numbers choose classes on this one layer: napari's own meaning stays on all others.
    assert {str(key) for key in viewer.layers["image strokes"].keymap} == set("0123456789")
    assert not [key for layer in viewer.layers if layer.name != "image strokes" for key in layer.keymap]
    viewer.close()
    assert not viewer.keymap
