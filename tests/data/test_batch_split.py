from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies

from abair_pl.data.batch_split import TrainerOfSplit, split_batch
from abair_pl.errors import InputError


@pytest.mark.filterwarnings("ignore:batch of .* would fill the devices")
@given(
    devices=strategies.integers(1, 64),
    share=strategies.integers(1, 64),
    largest=strategies.integers(1, 80) | strategies.none(),
)
def test_a_split_is_the_whole_batch_in_the_fewest_parts(devices: int, share: int, largest: int | None) -> None:
    split = split_batch(devices * share, devices, largest)
    assert split.devices * split.accumulated * split.each == devices * share
    assert largest is None or split.each <= largest
    fewer = [parts for parts in range(1, split.accumulated) if share % parts == 0]
    assert all(largest is not None and share // parts > largest for parts in fewer)


def test_it_is_printed_as_users_count() -> None:
    assert str(split_batch(256, 8, 16)) == "batch of 256 = 8 devices x 2 accumulated batches x 16"


def test_a_batch_that_does_not_divide_names_what_would() -> None:
    with pytest.raises(
        InputError,
        match=r"over 5 devices x 1 .* a multiple of 5: set --data.batch_size 30 or 35, or train on 4 devices$",
    ):
        split_batch(32, 5)
    with pytest.raises(
        InputError,
        match=r"over 2 devices x 3 accumulated batches; expected a multiple of 6: set --data.batch_size 6 or 12$",
    ):
        split_batch(8, 2, accumulated=3)
    with pytest.raises(InputError, match=r"set --data.batch_size 8, or train on 4 devices"):
        split_batch(4, 8)


def test_what_the_user_accumulates_is_kept_within_the_limit() -> None:
    assert split_batch(64, 2, 16, accumulated=4).each == 8
    with pytest.raises(
        InputError, match=r"accumulate_grad_batches is 2, .* takes 16 .*device_batch_size is 8; expected 4 accu.*leave"
    ):
        split_batch(64, 2, 8, accumulated=2)


def test_a_thin_split_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"34 = 2 devices x 17 .* x 1: .* at most 16 .*--data.batch_size 32 or 64"):
        split_batch(34, 2, 16)


def trainer(**settings: Any) -> Any:
    return SimpleNamespace(
        **{"accumulate_grad_batches": 1, "val_check_interval": 10, "check_val_every_n_epoch": None, **settings}
    )


def test_validation_comes_after_as_many_steps_also_in_a_second_run() -> None:
    one, settings = trainer(), TrainerOfSplit()
    for largest, accumulated in ((2, 4), (4, 2), (2, 4)):
        settings.set_up(one, split_batch(8, 1, largest, settings.given(one)))
        assert (one.accumulate_grad_batches, one.val_check_interval) == (accumulated, 10 * accumulated)


@pytest.mark.parametrize("unlike", [{"val_check_interval": 0.5}, {"check_val_every_n_epoch": 1}])
def test_shares_of_an_epoch_stay(unlike: dict[str, Any]) -> None:
    one = trainer(**unlike)
    before = one.val_check_interval
    TrainerOfSplit().set_up(one, split_batch(8, 1, 2))
    assert one.val_check_interval == before
