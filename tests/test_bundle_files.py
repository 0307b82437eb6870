"""Where the files of a bundle may be, and what is copied; kills are in test_bundle_kills.py."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abair_pl.atomic import aside
from abair_pl.bundle import Bundle, save_adapter
from abair_pl.bundle_commands.adapters import remove_adapter
from abair_pl.bundle_config import write_config
from abair_pl.bundle_files import copy_bundle, digests_of, reason, settle, standing
from abair_pl.errors import BundleError
from abair_pl.models.adapters import ADAPTER_FILES, LoRA


def test_a_folder_that_is_a_link_out_of_the_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    folder = bundle_copy / "adapters" / "rain"
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"rain/adapter_\w+\.\w+ leads out of the bundle, to .*elsewhere"):
        Bundle.open(bundle_copy).adapters()


def test_a_link_inside_and_a_link_to_the_bundle_are_followed(bundle_copy: Path, tmp_path: Path) -> None:
    folder = bundle_copy / "adapters" / "rain"
    shutil.move(folder, bundle_copy / "adapters" / "renamed")
    folder.symlink_to("renamed")
    (tmp_path / "link").symlink_to(bundle_copy)
    assert "rain" in Bundle.open(tmp_path / "link").adapters()


def test_a_copy_holds_nothing_from_elsewhere(bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("secret")
    (bundle_copy / "extra").symlink_to(tmp_path / "secrets")
    (bundle_copy / "key").symlink_to(tmp_path / "secrets" / "key")
    (bundle_copy / ".hidden").write_text("")
    (bundle_copy / "notes.txt").write_text("mine")
    copy_bundle(bundle_copy, tmp_path / "made")
    names = {entry.name for entry in (tmp_path / "made").iterdir()}
    assert names == {
        "config.json",
        "README.md",
        "backbone.safetensors",
        "estimator.safetensors",
        "adapters",
        "notes.txt",
    }
    Bundle.open(tmp_path / "made").blended()


def test_a_copy_can_be_written_to_where_the_bundle_cannot(bundle_copy: Path, tmp_path: Path) -> None:
    entries = [bundle_copy, *bundle_copy.rglob("*")]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    copy_bundle(bundle_copy, tmp_path / "made")
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert len(made) == len([entry for entry in entries if not entry.name.startswith(".")])
    assert all(entry.stat().st_mode & 0o200 for entry in made)


def test_a_part_stands_aside_only_while_the_configuration_names_it(bundle_copy: Path) -> None:
    part = bundle_copy / "adapters" / "rain"
    digests = digests_of(part, ADAPTER_FILES)
    shutil.copytree(part, aside(part))
    assert standing(bundle_copy, part, digests) == part
    (part / "adapter_config.json").write_text("{}")
    assert standing(bundle_copy, part, digests) == aside(part)
    assert standing(bundle_copy, part, {}) == part
    settle(bundle_copy, part, digests)
    assert not aside(part).exists()
    assert digests_of(part, ADAPTER_FILES) == digests


def test_where_neither_is_right_both_are_left(bundle_copy: Path) -> None:
    part = bundle_copy / "adapters" / "rain"
    shutil.copytree(part, aside(part))
    settle(bundle_copy, part, {"adapter_config.json": "0" * 64})
    assert part.exists()
    assert aside(part).exists()


def test_digests_are_recorded_and_kept(bundle_copy: Path, make_adapter: Callable[..., Any]) -> None:
    bundle = Bundle.open(bundle_copy)
    assert set(bundle.config.adapter_files) == set(bundle.config.adapters)
    saved = save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
    assert saved.config.adapter_files["rain"] == bundle.config.adapter_files["rain"]
    assert saved.config.adapter_files["snow"] == digests_of(bundle_copy / "adapters" / "snow", ADAPTER_FILES)


def test_an_adapter_without_digests_and_without_a_file_can_still_be_removed(bundle_copy: Path) -> None:
    write_config(bundle_copy, replace(Bundle.open(bundle_copy).config, adapter_files={}))
    (bundle_copy / "adapters" / "rain" / "adapter_config.json").unlink()
    remove_adapter(bundle_copy, name="rain")
    config = Bundle.open(bundle_copy).config
    assert set(config.adapter_files) == set(config.adapters) == {"haze", "noise", "blur", "low_light"}


def test_a_reason_is_one_line_that_does_nothing_to_a_terminal() -> None:
    assert reason(ValueError("a\n  b\x1b[31m\x00c")) == "a b?[31m?c"
    assert reason(AssertionError()) == "AssertionError"
