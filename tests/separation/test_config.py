"""Which separator a file means."""

import pytest
from pydantic import TypeAdapter, ValidationError

from querysep.separation.config import CompactConfig, PaperConfig, SeparatorConfig

READ = TypeAdapter(SeparatorConfig)


def test_the_architecture_chooses_the_shape_and_files_of_before_are_read() -> None:
    assert READ.validate_python({"architecture": "compact", "bins_per_band": 4}) == CompactConfig(bins_per_band=4)
    assert READ.validate_python({"channels": [8, 16]}) == CompactConfig(channels=(8, 16))
    for name in ("paper", "unet"):
        assert READ.validate_python({"architecture": name, "hop": 160}) == PaperConfig(hop=160)
    assert READ.validate_python(READ.dump_python(PaperConfig(), mode="json")) == PaperConfig()


def test_a_setting_of_the_other_architecture_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="bins_per_band"):
        READ.validate_python({"architecture": "paper", "bins_per_band": 4})
    with pytest.raises(ValidationError, match="'paper', 'compact'"):
        READ.validate_python({"architecture": "wavenet"})
