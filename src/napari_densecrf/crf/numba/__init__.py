"""How kernels are compiled, run and given memory. Knows nothing of what they compute."""
