"""Recordings as they are found: manifests and the open sound set."""
