"""The store: clips and anchors as uncompressed Arrow IPC shards, memory-mapped; see docs/store.md."""

from querysep.data.store.clips import ClipStore, is_store
from querysep.data.store.places import check_location

__all__ = ["ClipStore", "check_location", "is_store"]
