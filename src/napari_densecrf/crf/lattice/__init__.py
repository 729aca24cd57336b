"""The permutohedral lattice: from points to vertices, and splat, blur, slice. Knows no labels and no model."""
