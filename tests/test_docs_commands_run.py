"""The commands of README.md and the pages, run in their order: ``pytest -m slow -s tests/test_docs_commands_run.py``.

Each page has a folder of its own. Words in capitals are replaced by small photographs and bundles, and options of toy
size are put behind a command, where the last one counts. What was run, and what was not and why, is printed.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.doc_commands import PAGES, ROOT, Command, blocks, commands
from tests.reference.promptir import PromptIR
from tests.reference.restormer import Restormer

from abair_pl.cli import main

NOT_RUN = {
    r"^make ": "takes minutes and makes a virtual environment; CI runs make check and make test",
    r"^pip ": "changes the environment; what the virtual environment of make is made of",
    r"^python -m tests\.fuzz ": "takes ten minutes; make test-slow runs 10,000 inputs",
    r"^python -m tests\.app": "needs Chromium; tests/app/test_end_to_end.py does the same",
    r"^(sbatch|torchrun) ": "needs a cluster; tests/test_cluster_*.py run the scripts on a make-believe one",
    r"^abair-pl restore - ": "reads standard input; tests/restoring/test_command.py feeds it",
    r"^wandb ": "needs an account",
    r"^(tensorboard|abair-pl app)\b": "serves until it is stopped",
    r"configs/trainer/(single_gpu|ddp|fsdp)\.yaml": "needs GPUs",
    r"--layout (gldv2|gopro) ": "needs the data set",
    r"^abair-pl ablate .*--preset small": "README.md runs the same ablation",
    r"^abair-pl adapters \w+ +BUNDLE": "says how the commands are used; README.md runs them",
}
STANDS_FOR = {
    "PHOTO": "photographs/photo-0.png",
    "PHOTOS": "few",
    "PHOTO_OR_FOLDER": "photographs",
    "OTHERS": "photographs",
    "PAIRS": "pairs",
    "HELD_OUT_PAIRS": "pairs",
    "HELD_OUT_PAIRS/input": "pairs/input",
    "HELD_OUT_PAIRS/target": "pairs/target",
    "PAIRS/target": "pairs/target",
    "src/abair_pl/weights": "toy",
    "DEGRADED": "pairs/input",
    "CLEAN": "pairs/target",
    "DATA": "data",
    "photo.jpg": "photographs/photo-0.png",
    "holiday": "photographs",
    "scans/*.tif": "photographs/*.png",
    "BUNDLE": "runs/bundle",
    "OTHER_BUNDLE": "other",
}
FROM_NOTHING = ("README.md", "docs/index.md", "docs/data.md", "shards/README.md")
"""Pages whose first commands make what the later ones take; for the others it is there."""

FROM_A_BUNDLE = ("docs/degradations.md",)
"""Pages that measure a bundle, and train a backbone of their own."""

FIT = {
    "data.workers": 0,
    "data.batch_size": 2,
    "data.patch_px": 32,
    "data.val_patch_px": 32,
    "trainer.accelerator": "cpu",
    "trainer.max_steps": 2,
    "trainer.val_check_interval": 2,
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
}
APPENDED = {
    r"^fit .*pretrain\.yaml": ["--model.preset", "tiny"],
    r"^fit ": [word for name, value in FIT.items() for word in (f"--{name}", str(value))],
    r"^doctor .*--config": ["--override", "data.workers=0", "trainer.accelerator=cpu", "--steps", "0"],
    r"^shards sample": ["--dead-leaves", "2"],
    r"^shards synth": ["--images", "4"],
    r"^(restore|evaluate) (?!.*--bundle)": ["--bundle", "toy"],
    r"^(benchmark|ablate) ": ["--photos", "few"],
    r"^benchmark .*weights\.yaml": ["--suite", "configs/benchmark/weights_noise.yaml"],
    r"^ablate ": ["--seeds", "0", "--preset", "tiny", "--scale", "scale.yaml", "--jobs", "1", "--variants"],
}


@pytest.fixture
def place(photographs: Path, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that looks like the project's, in which the commands run."""
    folder = tmp_path / "project"
    for name in ("few", "data", "pairs"):
        (folder / name).mkdir(parents=True)
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    for source, name in ((photographs, "photographs"), (photographs, "pairs/input"), (photographs, "pairs/target")):
        shutil.copytree(source, folder / name)
    for index in range(2):
        shutil.copy(photographs / f"photo-{index}.png", folder / "few")
    shutil.copytree(bundle_path, folder / "toy")
    every = {**FIT, "trainer.limit_val_batches": 1, "trainer.num_sanity_val_steps": 0}
    (folder / "scale.yaml").write_text(yaml.safe_dump({"every": every}))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(folder))))
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    yield folder
    shutil.rmtree(folder)


def supply(page: str, folder: Path, given: dict[str, Path]) -> None:
    """Put what a page takes for granted into the folder."""
    for name, source in given.items():
        shutil.copytree(source, folder / name)
    if page in ("docs/degradations.md", "docs/new-degradation.md"):
        (folder / "scratches.yaml").write_text(blocks("docs/degradations.md", "yaml")[-1])
        (folder / "my_package.py").write_text(blocks("docs/degradations.md", "python")[-1])


def prepare(words: list[str]) -> None:
    """Make what a command takes and no command of a page makes: published networks, untrained, and another bundle."""
    networks: dict[str, Callable[[], Any]] = {"deraining.pth": Restormer, "model.ckpt": PromptIR}
    for name in networks.keys() & set(words):
        state = networks[name]().state_dict()
        torch.save({"state_dict": {f"net.{key}": value for key, value in state.items()}}, name)
    if STANDS_FOR["OTHER_BUNDLE"] in words:
        snow = ["--model.degradation", "snow", "--model.save_to", STANDS_FOR["OTHER_BUNDLE"]]
        run(["fit", "--config", "configs/adapter.yaml", *snow])


def run(words: list[str]) -> None:
    """Run a command at toy size."""
    line = " ".join(words)
    more = [word for pattern, added in APPENDED.items() if re.search(pattern, line) for word in added]
    if words[0] == "ablate":
        more.append(next(iter(yaml.safe_load(Path(words[words.index("--config") + 1]).read_text())["variants"])))
    assert main([*words, *more]) == 0, line
    if "--output" in words:
        assert Path(words[words.index("--output") + 1]).exists(), line


def lines_of(command: Command) -> Iterator[list[str]]:
    """What a command comes to: once more for each name that is mentioned behind it as ``# and haze, noise``."""
    words = [STANDS_FOR.get(word, word) for word in command.words[1:]]
    yield words
    also = re.match(r"and ((?:\w+, )*\w+)$", command.comment)
    for name in also[1].split(", ") if also else []:
        yield [name if word == "rain" else word for word in words]


def reason_not_to_run(command: Command) -> str:
    """Why a command is left out; empty if it is run."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command.text)), "")


def test_exceptions_are_of_commands_that_there_are() -> None:
    texts = [command.text for page in PAGES for command in commands(page)]
    assert all(any(re.search(pattern, text) for text in texts) for pattern in NOT_RUN)


def test_only_our_own_commands_are_run() -> None:
    run_here = [command for page in PAGES for command in commands(page) if not reason_not_to_run(command)]
    assert {command.program for command in run_here} == {"abair-pl"}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run(page: str, place: Path, bundle_path: Path, backbone_path: Path, sample_shards: Path) -> None:
    given = {"runs/bundle": bundle_path, "shards/train": sample_shards / "train", "shards/val": sample_shards / "val"}
    phases = {"runs/pretrain/bundle": backbone_path, "runs/adapters/bundle": bundle_path}
    if page not in FROM_NOTHING:
        supply(page, place, given if page in FROM_A_BUNDLE else {**given, **phases})
    told = [""]
    try:
        for command in commands(page):
            if reason := reason_not_to_run(command):
                told.append(f"not run  {command}  ({reason})")
                continue
            for words in lines_of(command):
                told.append(f"ran      {page}: abair-pl {' '.join(words)}")
                prepare(words)
                run(words)
    finally:
        print("\n".join(told))
