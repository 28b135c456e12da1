"""Read a store on S3, then again by two workers that are forked: python s3_loader.py ADDRESS OPTIONS-AS-JSON."""

import json
import sys

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


if __name__ == "__main__":
    items = First(ClipStore(sys.argv[1], options=json.loads(sys.argv[2])))
    alone = [items[index] for index in range(len(items))]
    loader = DataLoader(items, batch_size=3, num_workers=2)
    together = [int(value) for batch in loader for value in batch]
    sys.stdout.write(json.dumps([alone, together]))
