"""The reader, the writer and the samples that the manifest names."""
