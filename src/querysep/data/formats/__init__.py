"""Data sets as they lie on the disk: one module for each format, and what they share."""

from enum import StrEnum


class DataFormat(StrEnum):
    """How a data set lies on the disk."""

    MANIFEST = "manifest"
    FOLDERS = "folders"
    TABLE = "table"
    AUDIOSET = "audioset"
    FSD50K = "fsd50k"
    ESC50 = "esc50"
    HDF5 = "hdf5"
    STORE = "store"
