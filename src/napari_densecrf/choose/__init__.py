"""Numbers and maps that the program finds by itself, from image, map or strokes. No Dask, no files, no window."""
