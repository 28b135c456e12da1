"""Tables that people read."""

import math

import pytest

from querysep.evaluation.protocols.protocol import Summary
from querysep.evaluation.report.tables import digits_of, figure, heading, markdown


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("sdri_db", "SDRi, dB"),
        ("si_sdri_db", "SI-SDRi, dB"),
        ("sdr_v4_db", "SDR v4, dB"),
        ("made_worse", "made worse"),
        ("d_prime", "d prime"),
        ("event_f1", "event F1"),
        ("s", "s"),
    ],
)
def test_metrics_get_the_names_that_people_know(metric: str, words: str) -> None:
    assert heading(metric) == words


@pytest.mark.parametrize(
    ("metric", "values", "digits"),
    [
        ("sdri_db", (0.1, 5.724), 2),
        ("made_worse", (0.0712, math.nan), 3),
        ("clips", (300.0, 0.0), 0),
        ("d_prime", (0.5, 2.25), 2),
    ],
)
def test_figures_have_the_digits_that_they_need(metric: str, values: tuple[float, ...], digits: int) -> None:
    assert digits_of(metric, values) == digits


def test_no_figure_is_a_dash() -> None:
    assert [figure(math.nan), figure(-5.724), figure(0.0712, 3)] == ["–", "-5.72", "0.071"]


def test_summaries_with_other_metrics_get_a_table_of_their_own() -> None:
    summaries = [
        Summary(
            name="seen",
            count=3,
            values={"worse": 0.1, "sdri_db": 5.0},
            intervals={"sdri_db": (4.0, 6.0), "worse": (0.0, 0.2)},
        ),
        Summary(name="a|b", count=1, values={"worse": 0.0, "sdri_db": math.nan}),
        Summary(name="other", count=2, values={"ap": 0.25}, intervals={"ap": (0.2, 0.5)}),
        Summary(name="late", count=2, values={"sdri_db": 1.0, "worse": 0.0}),
    ]
    assert markdown(summaries, "sdri_db") == (
        "| | count | SDRi, dB | 95 % interval | worse |\n"
        "| --- | --: | --: | --- | --: |\n"
        "| seen | 3 | 5.00 | 4.00 to 6.00 | 0.100 |\n"
        "| a\\|b | 1 | – | | 0.000 |\n"
        "| late | 2 | 1.00 | | 0.000 |\n"
        "\n"
        "| | count | AP | 95 % interval |\n"
        "| --- | --: | --: | --- |\n"
        "| other | 2 | 0.250 | 0.200 to 0.500 |\n"
    )


def test_decibels_go_before_others_where_there_is_no_headline() -> None:
    intervals = {"presence": (0.0, 1.0), "clean_snr_db": (1.0, 2.0)}
    clean = Summary(name="clean", count=2, values={"presence": 0.5, "clean_snr_db": 1.5}, intervals=intervals)
    assert markdown([clean], "sdri_db").splitlines()[0] == "| | count | clean SNR, dB | 95 % interval | presence |"
    assert markdown([Summary(name="none", count=0, values={})], "sdri_db").splitlines()[2] == "| none | 0 |"
