"""npe2 finds and validates the manifest, and all that it names is there."""

from importlib import import_module

from npe2 import PluginManifest


def test_the_manifest_is_found_and_its_commands_exist():
    manifest = PluginManifest.from_distribution("napari-densecrf")
    assert manifest.name == "napari-densecrf"
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["Dense CRF"]
    assert len(manifest.contributions.sample_data) == 3
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name))
