"""Images of any size, in tiles. The only folder that imports Dask.

From the pixels outward: `dask_arrays` and `inputs` (lazy, checked), `problem` (what is solved), `tiling` and `planning`
(which tiles), `tile_tasks` and `tiles` (one delayed task a tile), `scheduling`, `tile_job` and `job` (long runs that
can be stopped). Each `object_*` is for objects what the file without `object_` is for classes.
"""
