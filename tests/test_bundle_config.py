"""A configuration that asks for more than its files hold, or leads elsewhere; damage is in test_bundle.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from abair_pl.bundle import Bundle
from abair_pl.bundle_config import MAX_SIZES
from abair_pl.errors import BundleError
from abair_pl.models.adapters.loading import MAX_SETTINGS
from abair_pl.models.presets import PRESETS
from abair_pl.plain_json import MAX_JSON_BYTES

LORA = {"method": "lora", "rank": 4, "alpha": 4.0}


def refused(bundle: Path, text: str) -> str:
    """What is said of a bundle with this text as configuration; nothing is made of it."""
    (bundle / "config.json").write_text(text)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    message = str(caught.value)
    assert message.startswith(f"{bundle / 'config.json'} is damaged (")
    assert message.isprintable()
    return message


def changed(bundle: Path, **values: Any) -> str:
    return json.dumps({**json.loads((bundle / "config.json").read_text()), **values})


@pytest.mark.parametrize("name", MAX_SIZES)
def test_sizes_that_no_file_holds_are_refused_before_anything_is_made(bundle_copy: Path, name: str) -> None:
    architecture = json.loads((bundle_copy / "config.json").read_text())["architecture"]
    value = 10**6 if not isinstance(architecture[name], list) else [10**6] * len(architecture[name])
    changes = {name: value, **({"dim": 2 * 10**6} if name == "heads" else {})}
    said = refused(bundle_copy, changed(bundle_copy, architecture={**architecture, **changes}))
    assert f"is damaged ({'dim' if name == 'heads' else name} is " in said or "heads must divide them" in said


def test_the_presets_are_far_within_the_limits() -> None:
    for preset in PRESETS.values():
        for name, most in MAX_SIZES.items():
            value = getattr(preset, name)
            assert 2 * max(value if isinstance(value, tuple) else (value,)) <= most


@pytest.mark.parametrize("name", ["degradations", "adapters"])
def test_too_many_parts_are_refused(bundle_copy: Path, name: str) -> None:
    names = [f"a{index}" for index in range(65)]
    value: Any = names if name == "degradations" else dict.fromkeys(names, LORA)
    assert f"there are 65 {name}, more than 64" in refused(bundle_copy, changed(bundle_copy, **{name: value}))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "", ".hidden", "a\nb", "\x1b[31m", "x" * 101])
def test_names_that_lead_elsewhere_are_refused(bundle_copy: Path, name: str) -> None:
    refused(bundle_copy, changed(bundle_copy, degradations=[name] * 5))
    refused(bundle_copy, changed(bundle_copy, adapters={name: LORA}))
    refused(bundle_copy, changed(bundle_copy, estimated={name: "0" * 64}))


@pytest.mark.parametrize("files", [[], {"rain": []}, {"rain": {"../../x": "0"}}, {"rain": {"adapter_config.json": 1}}])
def test_digests_of_other_files_are_refused(bundle_copy: Path, files: Any) -> None:
    assert "adapter_files is " in refused(bundle_copy, changed(bundle_copy, adapter_files=files))


@pytest.mark.parametrize("setting", MAX_SETTINGS)
def test_settings_of_adapters_have_limits(bundle_copy: Path, setting: str) -> None:
    made = {"method": "conv_lora", "rank": 4, "alpha": 4.0, "experts": 4, setting: int(MAX_SETTINGS[setting]) + 1}
    said = refused(bundle_copy, changed(bundle_copy, adapters={"rain": made}))
    assert f"the adapter's {setting} is {made[setting]}; expected at most" in said


def test_a_huge_file_is_not_read_to_its_end(bundle_copy: Path) -> None:
    with (bundle_copy / "config.json").open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(BundleError, match=f"{MAX_JSON_BYTES + 1} bytes, more than {MAX_JSON_BYTES}"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, json.dumps({"version": 2, "a": [[[[0]]]]})])
def test_depth_is_no_way_to_crash(bundle_copy: Path, text: str) -> None:
    refused(bundle_copy, text)
