"""The store: clips and anchors as uncompressed Arrow IPC shards, memory-mapped; see docs/store.md."""

from querysep.data.store.clips import ClipStore, is_store

__all__ = ["ClipStore", "is_store"]
