"""The README's Python examples run, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from recordings import WriteTone

from querysep.cli.main import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("querysep ")]
TRAINING = [line for line in COMMANDS if re.search(r"--data|sounds/|separator/model", line)]
SMALL = """
detector: {n_mels: 16, image_size: 64, embed_dim: 8, depths: [1, 1], heads: [1, 2], window_size: 4}
separator: {architecture: compact, channels: [8, 16], condition_dim: 16, condition_hidden: 16}
"""
FAST = ("--preset", "small.yaml", "--set", "steps=2", "--set", "workers=0", "--set", "batch_size=2")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
    assert len(COMMANDS) >= 5
    assert len(TRAINING) == 8


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("example", EXAMPLES)
def test_python_example(example: str) -> None:
    exec(compile(example, "README.md", "exec"), {})


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("command", [c for c in COMMANDS if "official" not in c and c not in TRAINING])
def test_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert run([*words, "--overwrite"]) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("street")
def test_training_from_a_folder_of_sounds(write_tone: WriteTone, capsys: pytest.CaptureFixture[str]) -> None:
    for place, name in enumerate(("bell", "dog", "rain")):
        for number in range(4):
            write_tone(f"sounds/{name}/{number}.wav", frequency_hz=200.0 * (1 + 3 * place) + 10 * number)
    Path("small.yaml").write_text(SMALL)
    for command in TRAINING:
        words = shlex.split(command, comments=True)[1:]
        more = {"train": FAST, "separate": ("--overwrite",)}.get(words[0], ())
        more = ("--minutes", "0.01") if words[:2] == ["train", "finetune"] else more
        assert run([*words, *more]) == 0, capsys.readouterr().err
    assert Path("street.target.wav").is_file()
