"""What the panel is built of: rows, folds, sliders, keys, and what is remembered. Knows no layers."""
