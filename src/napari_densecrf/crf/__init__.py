"""The model and its solver: images and maps in, marginals out. Knows no Dask, no files, no window."""
