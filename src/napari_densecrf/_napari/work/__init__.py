"""What the worker thread does: read the layers, refine, hand results back. Writes no layer."""
