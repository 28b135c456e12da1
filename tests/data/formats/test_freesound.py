"""FSD50K and ESC-50 as they are unpacked."""

import json
from pathlib import Path
from typing import Any

import pytest
from recordings import WriteTone

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import open_recordings
from querysep.data.formats.freesound import ESC50_DISPLAY_NAMES, display_name
from querysep.data.ontology import audioset as carried
from querysep.errors import DataError

RATE = 32_000


@pytest.fixture
def fsd50k(tmp_path: Path, write_tone: WriteTone) -> Path:
    root = tmp_path / "fsd"
    for folder in ("FSD50K.ground_truth", "FSD50K.metadata"):
        (root / folder).mkdir(parents=True)
    (root / "FSD50K.ground_truth/vocabulary.csv").write_text("0,Walk_and_footsteps,/m/07pbtc8\n")
    (root / "FSD50K.ground_truth/dev.csv").write_text(
        "fname,labels,mids,split\n"
        '64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train\n'
        '16399,"Walk_and_footsteps,Dishes_and_pots_and_pans","/m/07pbtc8,/m/04brg2",val\n'
        '404,"Rain","/m/06mb1",train\n'
    )
    (root / "FSD50K.ground_truth/eval.csv").write_text('fname,labels,mids\n99,"Fill_(with_liquid)","/x/unknown"\n')
    by = "http://creativecommons.org/licenses/by/3.0/"
    zero = "http://creativecommons.org/publicdomain/zero/1.0/"
    info: dict[str, Any] = {
        "64760": {"title": "g", "license": by, "uploader": "plagasul"},
        "16399": {"license": zero, "uploader": "plagasul"},
    }
    (root / "FSD50K.metadata/dev_clips_info_FSD50K.json").write_text(json.dumps(info))
    for name in ("dev_audio/64760", "dev_audio/16399", "eval_audio/99"):
        write_tone(f"fsd/FSD50K.{name}.wav", seconds=0.2, sample_rate=44_100)
    return root


def test_fsd50k(fsd50k: Path) -> None:
    opened = open_recordings(fsd50k, RATE)
    assert opened.data_format is DataFormat.FSD50K
    assert [(clip.labels, clip.split, clip.licence, clip.origin) for clip in opened.clips] == [
        (("Electric guitar", "Guitar", "Music"), "train", "CC-BY-3.0", "freesound:plagasul"),
        (("Walk, footsteps", "Dishes, pots, and pans"), "validation", "CC0-1.0", "freesound:plagasul"),
        (("Fill (with liquid)",), "test", "", "freesound:99"),
    ]
    assert [(one.path, one.kind) for one in opened.problems] == [("FSD50K.dev_audio/404.wav", "missing")]
    assert any("eval_clips_info" in warning for warning in opened.warnings)
    assert opened.read(0).size == 6_400
    (fsd50k / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/06mb1,Rain\n1,/m/02sgy,E-guitar\n")
    assert open_recordings(fsd50k, RATE).clips[0].labels[0] == "E-guitar"


def test_fsd50k_with_a_broken_list(fsd50k: Path) -> None:
    (fsd50k / "FSD50K.ground_truth/dev.csv").write_text("fname,labels\n1,Rain\n")
    with pytest.raises(DataError, match="lacks the columns mids"):
        open_recordings(fsd50k, RATE)


def test_display_names_of_esc50_and_fsd50k_are_audiosets() -> None:
    assert {name for names in ESC50_DISPLAY_NAMES.values() for name in names} <= set(carried().names)
    for ours, theirs in {
        "Bird_vocalization_and_bird_call_and_bird_song": "Bird vocalization, bird call, bird song",
        "Motor_vehicle_(road)": "Motor vehicle (road)",
        "Dishes_and_pots_and_pans": "Dishes, pots, and pans",
        "Tick-tock": "Tick-tock",
    }.items():
        assert display_name(ours) == theirs
        assert theirs in carried()


def test_esc50(tmp_path: Path, write_tone: WriteTone) -> None:
    root = tmp_path / "ESC-50-master"
    (root / "meta").mkdir(parents=True)
    (root / "meta/esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "5-100210-B-25.wav,5,25,footsteps,False,100210,B\n"
        "5-100210-C-31.wav,5,31,mouse_click,False,100210,C\n"
        "5-200000-A-1.wav,5,1,rooster,True,200000,A\n"
    )
    for name in ("1-100032-A-0", "5-100210-B-25", "5-100210-C-31"):
        write_tone(f"ESC-50-master/audio/{name}.wav", seconds=0.2, sample_rate=44_100)
    opened = open_recordings(root, RATE)
    assert opened.data_format is DataFormat.ESC50
    assert [(clip.labels, clip.split, clip.licence, clip.origin) for clip in opened.clips] == [
        (("Dog",), "train", "CC-BY-3.0", "freesound:100032"),
        (("Walk, footsteps",), "test", "CC-BY-NC-3.0", "freesound:100210"),
        (("mouse click",), "test", "CC-BY-NC-3.0", "freesound:100210"),
    ]
    assert [one.kind for one in opened.problems] == ["missing"]
