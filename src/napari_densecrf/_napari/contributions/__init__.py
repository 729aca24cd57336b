"""What the manifest offers besides the widget: a reader, a writer, samples."""
