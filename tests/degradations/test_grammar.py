import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import (
    BUILT_IN,
    Composite,
    Degradation,
    OneOf,
    RandomCameraShake,
    RandomDefocus,
    RandomGaussianBlur,
    RandomGaussianNoise,
    RandomHaze,
    RandomJpeg,
    RandomLowLight,
    RandomMotionBlur,
    RandomPoissonGaussianNoise,
    RandomRainStreaks,
    parse_degradation,
    resolve_composites,
    resolve_degradations,
)
from abair_pl.errors import InputError

OWN = """
import torch
from abair_pl.degradations import Degradation, Range
from abair_pl.degradations.base import per_image, within

class RandomScratches(Degradation):
    name = "scratches"
    draws = ("column",)

    def __init__(self, severity: Range = (0.0, 1.0), width_px: Range = (1.0, 4.0)) -> None:
        super().__init__(severity)
        self.width_px = width_px

    def physical(self, severity, draws):
        return {"width_px": within(self.width_px, severity), "column": draws["column"]}

    def degrade(self, image, parameters):
        column = per_image(parameters["column"]) * image.shape[-1]
        x = torch.arange(image.shape[-1], device=image.device)
        return torch.where((x - column).abs() <= per_image(parameters["width_px"]) / 2, 1.0, image)

class Other:
    pass

LEVEL = 3
"""


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package of the user's own, with a degradation in one of its modules."""
    folder = tmp_path / "grammar_own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "marks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("grammar_own_package", "grammar_own_package.marks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "grammar_own_package.marks"


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_a_name_alone_is_all_kinds_at_all_severities(name: str) -> None:
    made = parse_degradation(name)
    assert made.name == name
    assert [type(operator) for operator in made.operators] == list(BUILT_IN[name])
    assert all(operator.severity == (0.0, 1.0) for operator in made.operators)
    if isinstance(made, OneOf):
        share = np.diff(made.limits, prepend=0.0, append=1.0)
        assert share.tolist() == pytest.approx(list(BUILT_IN[name].values()))
    else:
        assert isinstance(made, Degradation)


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("rain:severity=0.8", RandomRainStreaks, {"severity": (0.8, 0.8)}),
        ("noise:sigma=25", RandomGaussianNoise, {"sigma_8bit": (25.0, 25.0), "severity": (0.0, 1.0)}),
        ("noise:sigma_8bit=25", RandomGaussianNoise, {"sigma_8bit": (25.0, 25.0)}),
        ("noise:shot=0.9,sigma=25", RandomPoissonGaussianNoise, {"shot_share": (0.9, 0.9), "sigma_8bit": (25.0, 25.0)}),
        ("noise:kind=poisson_gaussian", RandomPoissonGaussianNoise, {"sigma_8bit": (5.0, 55.0)}),
        ("jpeg:quality=20", RandomJpeg, {"quality": (20.0, 20.0)}),
        ("blur:radius=3", RandomDefocus, {"radius_px": (3.0, 3.0)}),
        ("blur:kind=defocus,radius=3", RandomDefocus, {"radius_px": (3.0, 3.0)}),
        ("blur:length=9", RandomMotionBlur, {"length_px": (9.0, 9.0)}),
        ("blur:extent=9", RandomCameraShake, {"extent_px": (9.0, 9.0)}),
        ("blur:sigma=2,ratio=1", RandomGaussianBlur, {"sigma_px": (2.0, 2.0), "ratio": (1.0, 1.0)}),
        ("blur:kind=gaussian,severity=1", RandomGaussianBlur, {"severity": (1.0, 1.0)}),
        ("haze:beta=1.5,tint=0.01", RandomHaze, {"beta": (1.5, 1.5), "tint": 0.01}),
        ("low_light:exposure=3", RandomLowLight, {"exposure_ev": (3.0, 3.0)}),
        ("rain:angle=-20", RandomRainStreaks, {"angle_deg": (-20.0, -20.0)}),
        ("rain:severity=1e-1", RandomRainStreaks, {"severity": (0.1, 0.1)}),
        ("noise:sigma=1e+1", RandomGaussianNoise, {"sigma_8bit": (10.0, 10.0)}),
        ("noise:sigma=2.5E+1,", RandomGaussianNoise, {"sigma_8bit": (25.0, 25.0)}),
    ],
)
def test_settings_fix_a_range_or_a_number(text: str, kind: type[Degradation], values: dict[str, Any]) -> None:
    made = parse_degradation(text)
    assert type(made) is kind
    assert {name: getattr(made, name) for name in values} == values


def test_severity_leaves_all_kinds() -> None:
    made = parse_degradation("blur:severity=0.8")
    assert isinstance(made, OneOf)
    assert [operator.severity for operator in made.operators] == [(0.8, 0.8)] * 4


def test_a_fixed_level_reaches_the_drawn_parameters() -> None:
    made = parse_degradation("noise:sigma=25")
    assert isinstance(made, Degradation)
    assert made.draw(np.arange(5))["sigma_8bit"].tolist() == [25.0] * 5


@pytest.mark.parametrize(
    ("text", "name", "kinds"),
    [
        ("blur:radius=3+noise:sigma=25", "blur+noise", [RandomDefocus, RandomGaussianNoise]),
        ("noise:sigma=25+blur:radius=3", "blur+noise", [RandomDefocus, RandomGaussianNoise]),
        ("jpeg:quality=20>blur:radius=2", "jpeg>blur", [RandomJpeg, RandomDefocus]),
        ("noise:sigma=1e+1+rain+haze", "rain+haze+noise", [RandomRainStreaks, RandomHaze, RandomGaussianNoise]),
        ("noise:sigma=2e+1>jpeg:quality=2e+1", "noise>jpeg", [RandomGaussianNoise, RandomJpeg]),
    ],
)
def test_composites_are_joined_in_one_order_or_the_other(text: str, name: str, kinds: list[type[Degradation]]) -> None:
    made = parse_degradation(text)
    assert isinstance(made, Composite)
    assert made.name == name
    assert [type(operator) for operator in made.operators] == kinds


def test_a_class_from_another_package_is_named_by_its_path(own_package: str, photo: Tensor) -> None:
    made = parse_degradation(f"{own_package}.RandomScratches:severity=1")
    assert isinstance(made, Degradation)
    assert (made.name, made.severity, type(made).__module__) == ("scratches", (1.0, 1.0), own_package)
    assert (made(photo) == 1.0).all(dim=1).any(dim=2).any(dim=1).all()
    both = parse_degradation(f"{own_package}.RandomScratches:width=2+jpeg:quality=50")
    assert both.name == "scratches+jpeg"
    assert both.operators[0].width_px == (2.0, 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nois", "unknown degradation 'nois'; expected one of: rain, .*; did you mean 'noise'"),
        ("", "unknown degradation ''"),
        ("Rain", "unknown degradation 'Rain'"),
        ("noise+", r"unknown degradation 'noise\+'"),
        (
            "noise:strength=3",
            "unknown setting of noise in 'noise:strength=3' 'strength'; expected one of: severity, sigma_8bit",
        ),
        ("noise:sig=3", "unknown setting of noise in .* 'sig'"),
        ("noise:=3", "unknown setting of noise in .* ''"),
        ("noise:sigma=", "'sigma=' in 'noise:sigma=' has no number; expected sigma=NUMBER, a finite one"),
        ("noise:sigma", "expected sigma=NUMBER"),
        ("noise:sigma=high", "has no number"),
        ("noise:sigma=nan", "'sigma=nan'"),
        ("noise:sigma=inf", "'sigma=inf'"),
        ("noise:sigma=300", r"sigma_8bit is \(300.0, 300.0\)"),
        ("rain:severity=1.5", "severity of rain is"),
        ("blur:kind=gausian", "unknown kind of blur 'gausian'; expected one of: shake, .*; did you mean 'gaussian'"),
        ("rain:kind=heavy", "unknown kind of rain 'heavy'"),
        ("blur:kind=defocus,sigma=2", "unknown setting of blur in .* 'sigma'; expected one of: severity, radius_px"),
        ("blur:radius=3,length=9", "unknown setting of blur in"),
        ("blur+noise>jpeg", r"joins by \+ and by >; expected \+ for the physical order or > for the order given"),
        ("blur+blur", r"a composite has members \['blur', 'blur'\]"),
        ("blur+nois", "unknown degradation 'nois'"),
        ("no_such_package.Rain", r"'no_such_package.Rain' cannot be imported .*; expected package.module.Class"),
        ("json.Rain", "'json.Rain' cannot be imported"),
        (".Rain", "'.Rain' cannot be imported"),
        ("json.JSONDecoder", "'json.JSONDecoder' is no degradation; expected a subclass of"),
        ("math.pi", "'math.pi' is no degradation"),
    ],
)
def test_a_wrong_text_is_refused_with_what_is_wrong_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_degradation(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["rain:severity=0.2,severity=0.9", "blur:kind=shake,kind=defocus"])
def test_a_setting_given_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="twice"):
        parse_degradation(text)


@pytest.mark.parametrize("member", ["Other", "LEVEL", "Missing"])
def test_what_is_no_degradation_in_another_package_is_refused(own_package: str, member: str) -> None:
    with pytest.raises(InputError, match=f"'{own_package}.{member}' (is no degradation|cannot be imported)"):
        parse_degradation(f"{own_package}.{member}")


@pytest.mark.parametrize("path", ["abair_pl.degradations.Degradation", "abair_pl.degradations.noise.Noise"])
def test_a_base_class_cannot_be_made(path: str) -> None:
    with pytest.raises(InputError, match=f"'{path}' is no degradation"):
        parse_degradation(path)


def test_degradations_are_resolved_in_the_order_of_their_names() -> None:
    made = resolve_degradations(["haze", "rain:severity=1"])
    assert [type(operator) for operator in made] == [RandomHaze, RandomRainStreaks]
    assert resolve_degradations([]) == []


def test_custom_degradations_win_over_built_in_ones() -> None:
    quiet = RandomGaussianNoise(sigma_8bit=(1.0, 1.0))
    made = resolve_degradations(["rain", "noise", "blur"], [quiet, "blur:radius=2"])
    assert type(made[0]) is RandomRainStreaks
    assert made[1] is quiet
    assert isinstance(made[2], RandomDefocus)


def test_unknown_names_are_refused_even_beside_custom_ones() -> None:
    with pytest.raises(InputError, match="unknown degradation 'sleet'"):
        resolve_degradations(["noise", "sleet"], [RandomGaussianNoise()])


def test_composites_take_their_members_from_the_degradations() -> None:
    quiet, blur = RandomGaussianNoise(sigma_8bit=(1.0, 1.0)), RandomDefocus()
    first, second = resolve_composites(["noise+blur", "blur>noise:sigma=9"], [quiet, blur])
    assert first.members == [blur, quiet]
    assert second.members[0] is blur
    assert second.operators[1] is not quiet
    assert second.operators[1].sigma_8bit == (9.0, 9.0)


def test_a_single_degradation_is_no_composite() -> None:
    with pytest.raises(InputError, match=r"composite 'blur' is a single degradation; expected several"):
        resolve_composites(["blur+noise", "blur"], [])


def test_parsed_degradations_degrade(photo: Tensor) -> None:
    for text in ("noise", "blur:radius=3+noise:sigma=25", "jpeg:quality=20>blur"):
        degraded = parse_degradation(text)(photo)
        assert degraded.shape == photo.shape
        assert not torch.equal(degraded, photo)


_OWN = """
from abair_pl.degradations import Degradation


class Needy(Degradation):
    name = "needy"

    def __init__(self, severity: tuple = (0.0, 1.0), *, width: int) -> None:
        super().__init__(severity)

    def physical(self, severity, draws):
        return {}

    def degrade(self, image, parameters):
        return image


class Bare(Needy):
    def __init__(self, severity=(0.0, 1.0)) -> None:
        super().__init__(severity, width=1)
"""


def test_own_modules_and_classes_that_fail_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_needy.py").write_text(_OWN)
    (tmp_path / "own_broken.py").write_text("class Half(")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"'own_needy.Needy' cannot be made \(.*width.*\); expected settings"):
        parse_degradation("own_needy.Needy")
    with pytest.raises(InputError, match=r"'own_broken.Half' cannot be imported \(SyntaxError"):
        parse_degradation("own_broken.Half")
    made = parse_degradation("own_needy.Bare:severity=0.5")  # a range by its default, if not by its annotation
    assert isinstance(made, Degradation)
    assert made.severity == (0.5, 0.5)
