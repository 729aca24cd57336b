"""Long runs over all that is open: into a layer, into a file."""
