"""Models as folders on disk: arguments as JSON, arrays as tensors, both checked when they are read."""
