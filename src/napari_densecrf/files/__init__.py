"""From files to files, without a window.

`read` opens what users have, `resampled` and `frames` bring maps onto their images, `maps` checks what they hold.
`target`, `outputs`, `write` and `pyramid` write; `places` says which paths may be written, and `work_folder` is where a
file is made before it gets its name. `options` and `jobs` make one refinement of these, `batch` many. `project` is what
the window saves.
"""
