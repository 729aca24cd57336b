"""napari with the sample open and the widget docked, for `napari-densecrf demo`."""

from __future__ import annotations

import argparse
import sys

import napari
import tifffile
from qtpy.QtCore import QTimer


def main(argv: list[str]) -> int:
    """Open the demo; with ``--screenshot`` and ``--labels`` write them when the labels are there, and leave."""
    parser = argparse.ArgumentParser(prog="napari-densecrf demo")
    parser.add_argument("--screenshot")
    parser.add_argument("--labels")
    options = parser.parse_args(argv)
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1280, 720)
    viewer.open_sample("napari-densecrf", "tissue")
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    if options.screenshot or options.labels:

        def leave(layer: napari.layers.Labels) -> None:
            if options.labels:
                tifffile.imwrite(options.labels, layer.data)
                print(f"wrote {options.labels}")
            if options.screenshot:
                layer.refresh()
                viewer.screenshot(options.screenshot, canvas_only=False, flash=False)
                print(f"wrote {options.screenshot}")
            viewer.close()

        def leave_soon(layer: napari.layers.Labels) -> None:
            widget.refined.disconnect(leave_soon)
            # A second later the thumbnails are drawn too.
            QTimer.singleShot(1000, lambda: leave(layer))

        widget.refined.connect(leave_soon)
        widget.failed.connect(lambda words: (print(words, file=sys.stderr), viewer.close()))
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
