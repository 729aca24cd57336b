"""The window. The only folder that imports napari, Qt and magicgui."""
