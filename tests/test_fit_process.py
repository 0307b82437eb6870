"""A fit seen from outside."""

from pathlib import Path

import pytest

from abair_pl.errors import InputError
from abair_pl.fit_process import ending, own_error, printed_settings

CONFIG = Path(__file__).parents[1] / "configs" / "pretrain.yaml"


def test_settings_are_the_given_ones_those_of_the_file_and_the_defaults() -> None:
    settings = printed_settings(["--config", str(CONFIG), "--trainer.max_steps=7"])
    assert settings["trainer"]["max_steps"] == 7
    assert settings["model"]["init_args"]["preset"] == "small"
    assert settings["resume"] == "never"


def test_a_wrong_option_is_an_error() -> None:
    with pytest.raises(InputError, match="max_stepz"):
        printed_settings(["--config", str(CONFIG), "--trainer.max_stepz=7"])


def test_the_last_error_on_purpose_counts() -> None:
    text = "abair-pl: error: one\nEpoch 0\nabair-pl: error: two\nbye\n"
    assert own_error(text) == "two"
    assert own_error("error: three\n") is None


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [("a\n  b \n\n", 1, "b"), ("", 3, "exit status 3"), ("a\n", -9, "ended by a signal (Killed)")],
)
def test_without_one_it_is_how_it_ended(text: str, status: int, expected: str) -> None:
    assert ending(text, status) == expected
