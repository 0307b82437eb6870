import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.errors import BundleError, InputError
from abair_pl.evaluation.benchmark.methods import BundleMethod, open_methods, parse_bundles
from abair_pl.evaluation.classical.registry import CLASSICAL
from abair_pl.evaluation.suite import Method, Suite
from abair_pl.models.adapters import LoRA

BLENDS = ["none", "soft", "one_hot", "pixel", "sum", "average", "oracle", "haze"]


def opened(suite: Suite, bundle: Path, *blends: str, tile_px: int = 512) -> dict[str, BundleMethod]:
    methods = {blend: Method(blend, blend) for blend in blends}
    found, missing = open_methods(replace(suite, methods=methods, main=""), {"main": bundle}, "cpu", tile_px, 64)
    assert not missing
    return {name: method for name, method in found.items() if isinstance(method, BundleMethod)}


def test_each_method_restores_by_its_blend(suite: Suite, bundle_path: Path) -> None:
    image = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(0))
    for blend, method in opened(suite, bundle_path, *BLENDS).items():
        result, unknown = method.restore(image, "rain")
        expected = method.model.restore(image, "rain" if blend == "oracle" else blend, with_labels=False)
        assert torch.equal(result.restored, expected.restored)
        assert result.weights == expected.weights
        assert (unknown is None) == (blend not in ("soft", "one_hot", "pixel"))


def test_what_a_bundle_cannot_do_is_told(suite: Suite, backbone_path: Path, make_adapter: Callable[..., Any]) -> None:
    methods = opened(suite, backbone_path, "soft", "oracle")
    with pytest.raises(BundleError, match="run phase II,"):
        methods["soft"].blend("rain")
    with pytest.raises(InputError, match="there is no adapter 'rain'"):
        methods["oracle"].blend("rain")
    with pytest.raises(InputError, match="no single adapter is for it"):
        methods["oracle"].blend("")
    with pytest.raises(InputError, match=r"unknown blend of method sfot 'sfot'.*did you mean 'soft'"):
        opened(suite, backbone_path, "sfot")


def test_keys_tell_what_shapes_results(
    suite: Suite, bundle_copy: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    first = opened(suite, bundle_copy, "soft", "none")
    assert first["soft"].key != first["none"].key
    assert opened(suite, bundle_copy, "soft")["soft"].key == first["soft"].key
    moved = shutil.copytree(bundle_copy, tmp_path / "elsewhere")
    assert opened(suite, moved, "soft")["soft"].key == first["soft"].key
    assert opened(suite, bundle_copy, "soft", tile_px=256)["soft"].key != first["soft"].key
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "calibration": {"temperature": 2.0, "threshold": None}}))
    assert opened(suite, bundle_copy, "soft")["soft"].key != first["soft"].key
    bundle = Bundle.open(bundle_copy)
    save_adapter(bundle_copy, bundle, "rain", make_adapter(bundle, "rain", seed=9), LoRA(), {})
    assert opened(suite, bundle_copy, "none")["none"].key != first["none"].key


def test_parameters_are_those_that_are_needed(suite: Suite, bundle: Bundle) -> None:
    methods = opened(suite, bundle.path, "none", "oracle", "soft", "pixel")
    backbone = sum(parameter.numel() for parameter in bundle.backbone().parameters())
    adapters = sum(
        update.down.numel() + update.up.numel() for each in bundle.adapters().values() for update in each.values()
    )
    estimator = sum(parameter.numel() for parameter in bundle.estimator().parameters())
    assert methods["none"].parameters == backbone
    assert methods["oracle"].parameters == backbone + adapters
    assert methods["soft"].parameters == methods["pixel"].parameters == backbone + adapters + estimator
    assert "preset nano" in methods["soft"].facts


def test_bundles_that_are_not_given_leave_methods_out(suite: Suite, bundle_path: Path) -> None:
    two = replace(suite, methods={"soft": Method("SW"), "added": Method("SW*", bundle="added")}, main="")
    found, missing = open_methods(two, {"main": bundle_path}, "cpu", 512, 64)
    assert list(found) == ["soft"]
    assert missing == {"added": "no bundle 'added'; give --bundle added=DIR"}
    found, missing = open_methods(two, {"main": bundle_path, "added": bundle_path}, "cpu", 512, 64)
    assert list(found) == ["soft", "added"]
    assert not missing


def test_classical_methods_need_no_bundle(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"gamma": Method("Gamma", classical="gamma"), "bm3d": Method("BM3D", classical="bm3d")}
    classical = replace(suite, methods=methods, main="")
    monkeypatch.setitem(CLASSICAL, "bm3d", replace(CLASSICAL["bm3d"], package="no-such-package"))
    found, missing = open_methods(classical, {}, "cpu", 512, 64)
    assert list(found) == ["gamma"]
    assert missing == {"bm3d": "no-such-package is not installed; pip install 'abair-pl[classical]'"}
    with pytest.raises(InputError, match="no method of this suite takes a bundle; expected none, found some/bundle"):
        open_methods(classical, {"main": Path("some/bundle")}, "cpu", 512, 64)
    wrong = replace(classical, methods={"gama": Method("Gamma", classical="gama")})
    with pytest.raises(InputError, match=r"unknown classical method 'gama'.*did you mean 'gamma'"):
        open_methods(wrong, {}, "cpu", 512, 64)


def test_wrong_bundles_are_refused(suite: Suite, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown bundle of this suite 'mian'"):
        open_methods(suite, {"mian": bundle_path}, "cpu", 512, 64)
    with pytest.raises(BundleError, match="no bundle at"):
        open_methods(suite, {"main": tmp_path}, "cpu", 512, 64)
    with pytest.raises(InputError, match="bundle 'main' is given twice"):
        parse_bundles(["a", "b"])


def test_a_directory_may_have_an_equals_sign() -> None:
    assert parse_bundles(["runs/lr=0.1/bundle"]) == {"main": Path("runs/lr=0.1/bundle")}
    assert parse_bundles(["main=lr=0.1/bundle", "other=b"]) == {"main": Path("lr=0.1/bundle"), "other": Path("b")}
