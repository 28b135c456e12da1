"""Read a store on S3 in workers that are forked: python s3_loader.py ADDRESS OPTIONS-AS-JSON; prints what was read."""

import json
import multiprocessing
import os
import sys
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from querysep.data.store import ClipStore


class First(Dataset[int]):
    """The first sample of each clip."""

    def __init__(self, store: ClipStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.clips)

    def __getitem__(self, index: int) -> int:
        return int(self._store.read(index, 0, 1)[0])


def reopened(store: ClipStore) -> list[int]:
    """Read from a store that was opened in this process."""
    return [int(store.read(index, 0, 1)[0]) for index in range(len(store.clips))]


if __name__ == "__main__":
    items = First(ClipStore(sys.argv[1], options=json.loads(sys.argv[2])))
    loader = DataLoader(items, batch_size=3, num_workers=2)
    fetched = [int(value) for batch in loader for value in batch]  # by the workers: this process did not read sound
    for path in Path(os.environ["QUERYSEP_SHARD_CACHE"]).glob("*.arrow"):
        path.unlink()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        sent = pool.apply(reopened, (items._store,))
    alone = [items[index] for index in range(len(items))]
    sys.stdout.write(json.dumps([fetched, sent, alone]))
