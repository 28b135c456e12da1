"""Sounds and Debian packages made here: no network, no Debian mirror."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")


def tone(seconds: float, rate: int, *, edge: float = 0.0, gain: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    silence = np.zeros(round(edge * rate))
    return np.concatenate([silence, gain * np.sin(2 * np.pi * 440 * time), silence])


def make_deb(cache: Path, package: str, files: dict[str, bytes]) -> None:
    tree = cache / "tree" / package
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: sounds\n"
    )
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
        (tree / name).chmod(0o755)
    (cache / "deb").mkdir(exist_ok=True)
    deb = cache / "deb" / f"{package}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(deb)], check=True, capture_output=True)
