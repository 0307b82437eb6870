from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import (
    BUILT_IN,
    Degradation,
    Draws,
    Parameters,
    RandomNoise,
    Synthesizer,
    parse_degradation,
    resolve_degradations,
)
from abair_pl.degradations.base import per_image, within
from abair_pl.errors import InputError


class RandomDimming(Degradation):
    """What a user would write: one drawn factor, multiplied."""

    name: ClassVar[str] = "dimming"
    draws: ClassVar[tuple[str, ...]] = ("factor",)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"factor": within((0.2, 0.8), draws["factor"])}

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return image * per_image(parameters["factor"])


class OwnNoise(RandomNoise):
    """Shares its name with the built-in one."""


def test_built_in_are_the_papers_five_in_its_order() -> None:
    assert list(BUILT_IN) == ["rain", "haze", "noise", "blur", "low_light"]
    assert all(operator.name == name for name, operator in BUILT_IN.items())


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("noise:sigma=25", "sigma_8bit", (25.0, 25.0)),
        ("noise:sigma_8bit=25", "sigma_8bit", (25.0, 25.0)),
        ("rain:severity=0.8", "severity", (0.8, 0.8)),
        ("haze:beta=1.5,tint=0.01", "beta", (1.5, 1.5)),
        ("haze:beta=1.5,tint=0.01", "tint", 0.01),
        ("low_light:exposure=3", "exposure_ev", (3.0, 3.0)),
        ("blur", "motion_px", (5.0, 19.0)),
    ],
)
def test_settings_fix_a_range_or_a_number(text: str, attribute: str, value: Any) -> None:
    operator = parse_degradation(text)
    assert type(operator) is BUILT_IN[text.partition(":")[0]]
    assert getattr(operator, attribute) == value


def test_a_fixed_level_reaches_the_drawn_parameters() -> None:
    parameters = parse_degradation("noise:sigma=25").draw(np.arange(5))
    assert parameters["sigma_8bit"].tolist() == [25.0] * 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nois", "unknown degradation 'nois'.*did you mean 'noise'"),
        ("", "unknown degradation"),
        ("noise:strength=3", "unknown setting of noise 'strength'.*sigma_8bit"),
        ("noise:sig=3", "unknown setting of noise 'sig'"),
        ("noise:=3", "unknown setting of noise"),
        ("noise:sigma=", "'sigma=' in 'noise:sigma=' has no number"),
        ("noise:sigma", "expected sigma=NUMBER"),
        ("noise:sigma=high", "has no number"),
        ("noise:sigma=nan", "sigma=nan"),
        ("noise:sigma=inf", "sigma=inf"),
        ("rain:severity=1.5", "severity of rain is"),
    ],
)
def test_a_wrong_text_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_degradation(text)


def test_operators_are_resolved_in_the_order_of_their_names() -> None:
    operators = resolve_degradations(["haze", "rain:severity=1"])
    assert [type(operator) for operator in operators] == [BUILT_IN["haze"], BUILT_IN["rain"]]


def test_custom_operators_win_over_built_in_ones() -> None:
    own, dimming = OwnNoise(), RandomDimming()
    operators = resolve_degradations(["dimming", "noise", "blur"], [own, dimming])
    assert operators[0] is dimming
    assert operators[1] is own
    assert type(operators[2]) is BUILT_IN["blur"]


def test_unknown_names_are_refused_even_beside_custom_ones() -> None:
    with pytest.raises(InputError, match="unknown degradation 'snow'"):
        resolve_degradations(["dimming", "snow"], [RandomDimming()])


def test_a_users_own_degradation_works_through_the_synthesizer(photo: Tensor) -> None:
    synthesizer = Synthesizer(resolve_degradations(["rain", "dimming"], [RandomDimming()]))
    plan = synthesizer.plan(torch.arange(4), only="dimming")
    synthesis = synthesizer(photo, plan)
    factors = torch.tensor([plan.record(index, synthesizer.names)[0]["parameters"]["factor"] for index in range(4)])
    assert torch.equal(synthesis.degraded, photo * per_image(factors))
    assert (synthesis.labels == 2).all()
    assert len(factors.unique()) == 4
