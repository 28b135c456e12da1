"""Sound as it comes out of a lossy codec."""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.errors import AudioError

MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows the stack with all of a long sound at once


def lossy(samples: NDArray[np.int16], sample_rate: int, codec: str, compression: float) -> NDArray[np.int16]:
    """Return one channel after an encoder and its decoder, in its place to the sample.

    Args:
        samples: shape (time,).
        sample_rate: Hz; for MP3 one of ``MP3_RATES``.
        codec: ``MP3`` or ``OGG`` (Vorbis).
        compression: 0 (nothing is heard of it) to below 1 (as much as the codec can).

    Raises:
        AudioError: libsndfile was built without this codec.
    """
    coded = io.BytesIO()
    try:
        with soundfile.SoundFile(coded, "w", sample_rate, 1, format=codec, compression_level=compression) as file:
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
        coded.seek(0)
        decoded, _ = soundfile.read(coded, frames=len(samples), dtype="int16", fill_value=0)
    except (soundfile.SoundFileError, ValueError) as error:
        raise AudioError(
            f"The codec {codec} cannot be used ({error}). Set codec_share=0, or install a soundfile that has it."
        ) from error
    return np.asarray(decoded, dtype=np.int16)
