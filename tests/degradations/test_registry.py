import inspect

import pytest

from abair_pl import degradations
from abair_pl.degradations import BUILT_IN, PAPER_FIVE, Degradation


def test_the_papers_five_come_first_and_in_its_order() -> None:
    assert PAPER_FIVE == ("rain", "haze", "noise", "blur", "low_light")
    assert list(BUILT_IN) == [*PAPER_FIVE, "snow", "jpeg", "bit_depth"]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_kinds_bear_the_name_and_differ_in_kind(name: str) -> None:
    kinds = [operator.kind for operator in BUILT_IN[name]]
    assert all(operator.name == name for operator in BUILT_IN[name])
    assert len(set(kinds)) == len(kinds)
    assert all(kinds) or kinds == [""]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_weights_are_shares(name: str) -> None:
    assert sum(BUILT_IN[name].values()) == pytest.approx(1.0)
    assert all(weight > 0 for weight in BUILT_IN[name].values())


def test_every_operator_of_the_package_is_registered() -> None:
    exported = {value for value in vars(degradations).values() if inspect.isclass(value)}
    concrete = {value for value in exported if issubclass(value, Degradation)} - {Degradation}
    assert concrete == {operator for kinds in BUILT_IN.values() for operator in kinds}
    assert set(degradations.__all__) <= set(vars(degradations))
