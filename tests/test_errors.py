import pickle

import pytest

from abair_pl import errors
from abair_pl.errors import (
    AbairError,
    BundleError,
    ImageError,
    InputError,
    ShardError,
    TrainingError,
    one_line,
    unknown_name,
)

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]


@pytest.mark.parametrize("error", ALL)
def test_all_errors_have_one_root(error: type[Exception]) -> None:
    assert issubclass(error, AbairError)


@pytest.mark.parametrize(
    ("error", "exit_status"),
    [(AbairError, 1), (TrainingError, 1), (InputError, 2), (BundleError, 2), (ShardError, 2), (ImageError, 2)],
)
def test_exit_status_tells_wrong_input_from_failed_work(error: type[AbairError], exit_status: int) -> None:
    assert error("message").exit_status == exit_status


@pytest.mark.parametrize("error", ALL)
def test_errors_cross_from_one_process_to_another(error: type[Exception]) -> None:
    copy = pickle.loads(pickle.dumps(error("what was found, what was expected")))  # noqa: S301 - our own bytes
    assert type(copy) is error
    assert str(copy) == "what was found, what was expected"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tinny", "unknown preset 'tinny'; expected one of: tiny, small; did you mean 'tiny'?"),
        ("enormous", "unknown preset 'enormous'; expected one of: tiny, small"),
        ("", "unknown preset ''; expected one of: tiny, small"),
    ],
)
def test_unknown_name_lists_the_known_and_guesses_only_where_one_is_near(name: str, said: str) -> None:
    error = unknown_name(name, "preset", iter(["tiny", "small"]))
    assert type(error) is InputError
    assert str(error) == said


def test_one_line_has_nothing_that_a_terminal_obeys() -> None:
    assert one_line("a\x1b]0;owned\x07 b\n  c") == "a?]0;owned? b c"
