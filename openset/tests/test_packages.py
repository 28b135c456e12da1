import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from made_up import make_deb, needs_dpkg

from openset.packages import fetch_package, is_archive, read_archive, unpack_package
from querysep.errors import DataError


@needs_dpkg
def test_files_come_out_of_packages_and_of_archives_in_them(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sound/rain.ogg", b"rain")
        archive.writestr("sound/wind.ogg", b"wind")
    make_deb(tmp_path, "game", {"usr/share/game/0snd.pk3": packed.getvalue(), "usr/share/game/owl.wav": b"owl"})
    names = ["usr/share/game/0snd.pk3.d/sound/rain.ogg", "usr/share/game/owl.wav", "usr/share/game/none.wav"]
    out = tmp_path / "out"
    found = unpack_package(fetch_package("game", tmp_path), names, out)
    assert {name: path.read_bytes() for name, path in found.items()} == {names[0]: b"rain", names[1]: b"owl"}
    assert {path.name for path in out.rglob("*") if path.is_file()} == {"rain.ogg", "owl.wav", "absent.json"}
    (tmp_path / "deb" / "game_1_all.deb").unlink()  # everything is known: the package is not read again
    assert unpack_package(tmp_path / "gone.deb", names, out) == found


@needs_dpkg
def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.deb").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.deb"):
        unpack_package(tmp_path / "bad.deb", ["usr/a.wav"], tmp_path / "out")
    with pytest.raises(DataError, match="no path inside"):
        unpack_package(tmp_path / "bad.deb", ["../a.wav"], tmp_path / "out")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("sound/rain.ogg", b"rain")
        archive.writestr("sound/", b"")
        archive.writestr("readme", b"text")
    return buffer.getvalue()


def qt_resources(version: int = 1) -> bytes:
    """Make what ``rcc --binary`` makes of sound/rain.ogg (compressed) and sound/wind.ogg."""
    names, places = b"", []
    for name in ("sound", "rain.ogg", "wind.ogg"):
        places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    packed = struct.pack(">I", 4) + zlib.compress(b"rain")
    data = struct.pack(">I", len(packed)) + packed
    second = len(data)
    data += struct.pack(">I", 4) + b"wind"
    time = b"" if version < 2 else bytes(8)
    tree = struct.pack(">IHII", 0, 2, 1, 1) + time
    tree += struct.pack(">IHII", places[0], 2, 2, 2) + time
    tree += struct.pack(">IHHHI", places[1], 1, 0, 0, 0) + time
    tree += struct.pack(">IHHHI", places[2], 0, 0, 0, second) + time
    at = 20
    return b"qres" + struct.pack(">4I", version, at, at + len(tree), at + len(tree) + len(data)) + tree + data + names


def samples() -> bytes:
    entries = [(b"Rain\0", b"RIFFrain"), (b"A/B\0", b"RIFFab")]
    at, table, body = 8 * len(entries), b"", b""
    for title, sound in entries:
        table += struct.pack("<II", at + len(body), len(sound))
        body += bytes([len(title)]) + title + sound + b"\x01\0"
    return table + body


@pytest.mark.parametrize(
    ("name", "content", "files"),
    [
        ("a.pk3", zipped(), {"sound/rain.ogg": b"rain", "readme": b"text"}),
        ("a.WZ", zipped(), {"sound/rain.ogg": b"rain", "readme": b"text"}),
        ("a.rcc", qt_resources(1), {"sound/rain.ogg": b"rain", "sound/wind.ogg": b"wind"}),
        ("a.rcc", qt_resources(2), {"sound/rain.ogg": b"rain", "sound/wind.ogg": b"wind"}),
        ("a.cat", samples(), {"00 Rain.wav": b"RIFFrain", "01 A-B.wav": b"RIFFab"}),
    ],
)
def test_files_come_out_whole(name: str, content: bytes, files: dict[str, bytes]) -> None:
    assert is_archive(name)
    assert dict(read_archive(io.BytesIO(content), name)) == files
    one = next(iter(files))
    assert dict(read_archive(io.BytesIO(content), name, {one, "absent"})) == {one: files[one]}


@pytest.mark.parametrize(
    ("name", "content"), [("a.zip", b"junk"), ("a.rcc", b"junk"), ("a.rcc", b"qres"), ("a.cat", b"")]
)
def test_a_broken_archive_is_told(name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=f"archive '{name}' is broken"):
        dict(read_archive(io.BytesIO(content), name))


def test_another_kind_is_told() -> None:
    assert not is_archive("a.tar")
    with pytest.raises(DataError, match="no archive that we can read"):
        dict(read_archive(io.BytesIO(b""), "a.tar"))
