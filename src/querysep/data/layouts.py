"""The ways in which a data set may lie on the disk."""

from enum import StrEnum


class Layout(StrEnum):
    """How a data set lies on the disk."""

    MANIFEST = "manifest"
    FOLDERS = "folders"
    TABLE = "table"
    AUDIOSET = "audioset"
    FSD50K = "fsd50k"
    ESC50 = "esc50"
    HDF5 = "hdf5"
    STORE = "store"
