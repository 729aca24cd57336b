"""Images in tiles, of any size. The only folder that imports Dask."""
