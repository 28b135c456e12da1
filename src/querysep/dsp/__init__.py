"""Pure tensor functions: no files, no networks."""
