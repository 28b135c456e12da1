"""The border: audio files, weights folders and presets to tensors and back."""
