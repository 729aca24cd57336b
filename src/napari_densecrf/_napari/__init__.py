"""The only place that imports napari, Qt and magicgui."""
