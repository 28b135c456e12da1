"""Mining: a detector over clips gives a catalog of anchor segments."""
