"""The folds of the panel, one file each part."""
