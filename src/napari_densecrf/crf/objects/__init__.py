"""Objects, each a label of its own, in one dense CRF: few candidates a pixel, one lattice for all. docs/objects.md."""
