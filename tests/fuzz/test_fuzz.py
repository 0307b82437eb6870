"""A short run of the fuzzer each time, a long one when there is time; and that it finds what it is for."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.fuzz.__main__ import fuzz
from tests.fuzz.corpus import archives, photographs
from tests.fuzz.file_formats import json_value, tar_header, tensors_header
from tests.fuzz.image_formats import AWARE, png_chunks, png_of
from tests.fuzz.mutate import PLAIN, mutated
from tests.fuzz.targets import TARGETS, Case, Target
from tests.fuzz.watch import Outcome, watch

from abair_pl.data.decode import decode_image, decode_sample
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import ShardError

SHORT = {"restore": 40, "shards": 150, "bundle": 40}
LONG = 10_000
MAX_CORPUS_BYTES = 50_000


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_short_run(name: str, tmp_path: Path) -> None:
    tally = fuzz(name, 0, SHORT[name], 300.0, tmp_path / "findings")
    assert tally.findings == []
    assert tally.inputs == SHORT[name]
    assert 0 < tally.accepted < tally.inputs
    assert not (tmp_path / "findings").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_long_run(name: str, tmp_path: Path) -> None:
    tally = fuzz(name, 1, LONG // len(TARGETS) + 1, 3600.0, tmp_path / "findings")
    assert tally.findings == []
    assert tally.inputs * len(TARGETS) >= LONG


def test_the_seeds_are_small_and_good(tmp_path: Path) -> None:
    images, shards = photographs(), archives()
    assert sum(map(len, images.values())) + sum(map(len, shards.values())) < 3 * MAX_CORPUS_BYTES
    for name, data in images.items():
        assert decode_image(data, name).shape == (24, 24, 3)
        assert name.partition(".")[2] in AWARE
    for name, data in shards.items():
        (tmp_path / name).write_bytes(data)
        assert len([decode_sample(sample) for sample in read_samples([str(tmp_path / name)])]) == 4


def test_mutations_are_a_function_of_the_seed() -> None:
    data = photographs()["colour.png"]
    first = [mutated(data, Random(index), AWARE["png"]) for index in range(20)]
    assert first == [mutated(data, Random(index), AWARE["png"]) for index in range(20)]
    assert len(set(first)) > 15


@pytest.mark.parametrize("data", [b"", b"x", bytes(40), bytes(range(256)) * 4])
def test_mutators_take_any_bytes(data: bytes) -> None:
    aware = [mutator for mutators in AWARE.values() for mutator in mutators]
    for mutator in (*PLAIN, *aware, tar_header, json_value, tensors_header):
        for index in range(20):
            assert isinstance(mutator(data, Random(index)), bytes)


def test_chunks_of_a_png_are_put_together_as_they_were() -> None:
    data = photographs()["colour.png"]
    assert png_of(png_chunks(data)) == data


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    while True:
        time.sleep(1.0)


def work_too_long() -> None:
    end = time.process_time() + 5.0
    while time.process_time() < end:
        pass


def eat() -> None:
    bytearray(1 << 29)[:: 1 << 12] = bytes(1 << 17)


def write_elsewhere() -> None:
    (Path(os.environ["ELSEWHERE"]) / "file").touch()


def start_a_program() -> None:
    os.posix_spawn("/bin/true", ["true"], {})


def fail() -> None:
    raise KeyError


def say_two_lines() -> None:
    message = "one\ntwo"
    raise ShardError(message)


FAULTS: dict[str, Callable[[], None]] = {
    "the process died with status -11": crash,
    "waits for more than 2 s": hang,
    "takes more than 0.4 s": work_too_long,
    "MiB": eat,
    "open (": write_elsewhere,
    "os.posix_spawn": start_a_program,
    "KeyError": fail,
    "several lines": say_two_lines,
}


class Faulty(Target):
    """Does what must not happen at its third input."""

    def __init__(self, folder: Path, fault: Callable[[], None]) -> None:
        super().__init__(folder)
        self.fault = fault
        self.made = 0

    def make(self, random: Random) -> Case:
        self.made += 1
        return Case("input", bytes([random.randrange(256)]))

    def place(self, case: Case, random: Random) -> None:
        (self.folder / case.name).write_bytes(case.data)

    def run(self, random: Random) -> None:
        if self.made == 3:
            self.fault()

    def faults(self, accepted: bool) -> list[str]:
        return []


@pytest.mark.parametrize("said", FAULTS)
def test_what_must_not_happen_is_found_and_the_run_goes_on(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    monkeypatch.setattr("tests.fuzz.watch.LIMIT_S", 0.4 if "0.4 s" in said else 30.0)
    monkeypatch.setattr("tests.fuzz.watch.PATIENCE_S", 2.0 if "2 s" in said else 60.0)
    monkeypatch.setattr("tests.fuzz.watch.LIMIT_MIB", 500 if said == "MiB" else 1 << 20)
    outcomes: list[Outcome] = list(watch(Faulty(tmp_path / "target", FAULTS[said]), "faulty", 0, 5, 60.0))
    assert [outcome.number for outcome in outcomes] == list(range(5))
    assert said in outcomes[2].finding
    assert [outcome.finding for index, outcome in enumerate(outcomes) if index < 2] == ["", ""]


def test_an_input_that_breaks_something_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.targets.decode_sample", lambda _: fail())
    tally = fuzz("shards", 0, 10, 60.0, tmp_path / "findings")
    kept = sorted((tmp_path / "findings").iterdir())
    assert len(kept) == len(tally.findings) > 0
    assert kept[0].name.startswith("shards-0-")
    number = int(kept[0].name.split("-")[2])
    target = TARGETS["shards"](tmp_path / "again")
    assert kept[0].read_bytes() == target.make(Random(f"0/shards/{number}")).data
