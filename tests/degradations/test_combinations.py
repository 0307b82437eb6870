import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import (
    AnyDegradation,
    Composite,
    OneOf,
    RandomBitDepth,
    RandomDefocus,
    RandomGaussianNoise,
    RandomHaze,
    RandomJpeg,
    RandomMotionBlur,
    RandomRainStreaks,
    RandomSnow,
)
from abair_pl.degradations.random import child_seeds
from abair_pl.errors import InputError

SEEDS = np.arange(4000)


def _blurs(weights: list[float] | None = None) -> OneOf:
    return OneOf([RandomDefocus(), RandomMotionBlur()], weights)


class TestOneOf:
    @pytest.mark.parametrize(
        ("weights", "shares"),
        [(None, [0.5, 0.5]), ([3.0, 1.0], [0.75, 0.25]), ([0.0, 2.0], [0.0, 1.0])],
    )
    def test_kinds_are_chosen_by_their_weights(self, weights: list[float] | None, shares: list[float]) -> None:
        one_of = _blurs(weights)
        counts = dict.fromkeys(one_of.kinds, 0)
        for step in one_of.steps(SEEDS):
            counts[step.operator] += len(step.rows)
        assert [counts[kind] / len(SEEDS) for kind in one_of.kinds] == pytest.approx(shares, abs=0.03)

    def test_each_sample_has_one_kind_with_its_own_parameters(self) -> None:
        steps = _blurs().steps(SEEDS[:50], dial=(0.5, 0.5))
        rows = np.concatenate([step.rows for step in steps])
        assert sorted(rows) == list(range(50))
        for step in steps:
            expected = step.operator.draw(SEEDS[step.rows], (0.5, 0.5))
            assert step.parameters.keys() == expected.keys()
            assert all(torch.equal(step.parameters[name], value) for name, value in expected.items())

    def test_the_choice_does_not_depend_on_the_batch(self) -> None:
        chosen = {int(row): step.operator.kind for step in _blurs().steps(SEEDS[:30]) for row in step.rows}
        for index in range(30):
            (step,) = _blurs().steps(SEEDS[index : index + 1])
            assert step.operator.kind == chosen[index]

    def test_it_goes_by_the_name_of_its_kinds(self) -> None:
        assert _blurs().name == "blur"
        assert [operator.kind for operator in _blurs().operators] == ["defocus", "motion"]

    @pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0], [1.0, -1.0], [0.0, 0.0]], ids=str)
    def test_weights_that_do_not_fit_are_refused(self, weights: list[float]) -> None:
        with pytest.raises(
            InputError, match=r"weights are .* for 2 kinds; expected one each, none negative, not all 0"
        ):
            _blurs(weights)

    def test_weights_that_are_no_numbers_are_refused(self) -> None:
        with pytest.raises(InputError, match="weights are"):
            _blurs([float("nan"), 1.0])

    def test_kinds_of_several_names_or_none_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"kinds of one degradation are named \['blur', 'noise'\]"):
            OneOf([RandomDefocus(), RandomGaussianNoise()])
        with pytest.raises(
            InputError, match=r"kinds of blur are \['defocus', 'defocus'\]; expected each to have its own"
        ):
            OneOf([RandomDefocus(), RandomDefocus(radius_px=(1.0, 2.0))])
        with pytest.raises(InputError, match=r"are named \[\]"):
            OneOf([])


class TestComposite:
    def test_physical_order_is_scene_optics_sensor_codec(self) -> None:
        members = [RandomJpeg(), RandomGaussianNoise(), RandomDefocus(), RandomRainStreaks()]
        assert Composite(members).name == "rain+blur+noise+jpeg"
        assert Composite(members, physical_order=False).name == "jpeg>noise>blur>rain"

    def test_members_of_one_stage_stay_as_given(self) -> None:
        assert Composite([RandomSnow(), RandomHaze()]).name == "snow+haze"
        assert Composite([RandomHaze(), RandomSnow()]).name == "haze+snow"
        assert Composite([RandomBitDepth(), RandomJpeg(), RandomHaze()]).name == "haze+bit_depth+jpeg"

    @pytest.mark.parametrize("physical_order", [True, False])
    def test_members_are_applied_one_after_the_other(self, photo: Tensor, physical_order: bool) -> None:
        jpeg, blur = RandomJpeg(), RandomDefocus()
        composite = Composite([jpeg, blur], physical_order)
        expected = photo
        for member in (blur, jpeg) if physical_order else (jpeg, blur):
            seeds = child_seeds(SEEDS[:4], f"composite/{member.name}")
            expected = member.apply(expected, member.draw(seeds))
        found = photo.clone()
        for step in composite.steps(SEEDS[:4]):
            rows = torch.from_numpy(step.rows)
            step.operator.apply_to_rows(found, rows, step.parameters, found, rows)
        assert torch.equal(found, expected)
        assert not torch.equal(found, photo)

    def test_members_draw_independently(self) -> None:
        first, second = Composite([RandomDefocus(), RandomGaussianNoise()]).steps(SEEDS)
        together = torch.stack([first.parameters["severity"], second.parameters["severity"]])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 0.06

    def test_the_dial_reaches_every_member(self) -> None:
        composite = Composite([_blurs(), RandomGaussianNoise()])
        assert all((step.parameters["severity"] == 0.25).all() for step in composite.steps(SEEDS[:20], (0.25, 0.25)))

    def test_composites_may_be_nested(self, photo: Tensor) -> None:
        inner = Composite([RandomDefocus(), RandomGaussianNoise()])
        outer = Composite([RandomJpeg(), inner])
        assert outer.name == "blur+noise+jpeg"
        assert [operator.name for operator in outer.operators] == ["blur", "noise", "jpeg"]
        assert outer(photo).shape == photo.shape

    @pytest.mark.parametrize(
        "members",
        [[], [RandomJpeg()], [RandomJpeg(), RandomJpeg()], [RandomDefocus(), RandomMotionBlur()]],
        ids=lambda members: "+".join(member.name for member in members),
    )
    def test_fewer_than_two_or_one_twice_are_refused(self, members: list[AnyDegradation]) -> None:
        with pytest.raises(InputError, match="expected two or more, each named once"):
            Composite(members)


@pytest.mark.parametrize("make", [_blurs, lambda: Composite([_blurs(), RandomJpeg()])], ids=["one_of", "composite"])
def test_a_call_degrades_and_follows_the_global_seed(photo: Tensor, make: type) -> None:
    combination, image = make(), photo.clone()
    torch.manual_seed(5)
    first, second = combination(image), combination(image)
    torch.manual_seed(5)
    assert torch.equal(first, combination(image))
    assert not torch.equal(first, second)
    assert torch.equal(image, photo)
    assert first.dtype == torch.float32
    assert ((first != photo).flatten(1).any(dim=1)).all()
