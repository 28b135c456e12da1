"""One Ray cluster of two processes on this machine for all tests; it takes its time to start."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # what tests hand to workers lies in tests/
        patch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_enable_worker_prestart", "0")
        ray.init(num_cpus=2, object_store_memory=80_000_000, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
