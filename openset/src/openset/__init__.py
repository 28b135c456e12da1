"""Builds the open sound set, which the bundled weights of querysep are trained on; the command is ``openset``."""
