"""Makes small SF2 soundfonts for tests."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

Content = npt.NDArray[np.int16]


def write_soundfont(
    path: Path, samples: dict[str, Content], presets: dict[tuple[int, int], list[tuple[str, int, int]]]
) -> Path:
    """Write a soundfont: each preset has an instrument of its own, whose zones play a sample from key to key."""
    names = list(samples)
    sound, heads, start = b"", b"", 0
    for name, content in samples.items():
        heads += struct.pack(
            "<20sIIIIIBbHH",
            name.encode(),
            start,
            start + content.size,
            start,
            start + content.size,
            32_000,
            60,
            0,
            0,
            1,
        )
        sound += content.tobytes() + bytes(92)
        start += content.size + 46
    heads += struct.pack("<20s26x", b"EOS")
    phdr = pbag = pgen = inst = ibag = igen = b""
    bags = generators = 0
    for number, ((bank, program), zones) in enumerate(presets.items()):
        phdr += struct.pack("<20sHHHIII", b"preset", program, bank, number, 0, 0, 0)
        pbag += struct.pack("<HH", number, 0)
        pgen += struct.pack("<HH", 41, number)
        inst += struct.pack("<20sH", b"instrument", bags)
        for name, low, high in zones:
            ibag += struct.pack("<HH", generators, 0)
            igen += struct.pack("<HBB", 43, low, high) + struct.pack("<HH", 53, names.index(name))
            bags, generators = bags + 1, generators + 2
    phdr += struct.pack("<20sHHHIII", b"EOP", 0, 0, len(presets), 0, 0, 0)
    pbag += struct.pack("<HH", len(presets), 0)
    inst += struct.pack("<20sH", b"EOI", bags)
    ibag += struct.pack("<HH", generators, 0)
    pgen += bytes(4)
    igen += bytes(4)
    tables = {
        b"phdr": phdr, b"pbag": pbag, b"pmod": bytes(10), b"pgen": pgen,
        b"inst": inst, b"ibag": ibag, b"imod": bytes(10), b"igen": igen, b"shdr": heads,
    }  # fmt: skip
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"test\0\0")
    lists = [
        _chunk(b"LIST", b"INFO" + info),
        _chunk(b"LIST", b"sdta" + _chunk(b"smpl", sound)),
        _chunk(b"LIST", b"pdta" + b"".join(_chunk(name, content) for name, content in tables.items())),
    ]
    path.write_bytes(_chunk(b"RIFF", b"sfbk" + b"".join(lists)))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
