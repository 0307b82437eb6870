import json
from pathlib import Path

import pytest

from abair_pl.errors import AbairError
from abair_pl.evaluation.benchmark.records import RecordStore
from abair_pl.evaluation.results import Record


def record(image: str) -> Record:
    return Record("denoising", "soft", image, 20.1, 0.3, 27.5 + 1 / 3, 0.8, {"noise": 1.0}, False, 0.1, 0.4)


def test_all_processes_read_what_each_has_written(tmp_path: Path) -> None:
    for rank in range(2):
        with RecordStore(tmp_path, rank).writing() as writer:
            writer.add(f"key-{rank}", record(f"image-{rank}"))
    found = RecordStore(tmp_path).read()
    assert found == {"key-0": record("image-0"), "key-1": record("image-1")}, "to the last bit"
    assert RecordStore(tmp_path / "nothing").read() == {}


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_line_cut_short_is_passed_over_and_not_added_to(tmp_path: Path, cut: int) -> None:
    store = RecordStore(tmp_path)
    with store.writing() as writer:
        writer.add("first", record("a"))
        writer.add("second", record("b"))
    text = store.file.read_text()
    store.file.write_text(text[:-cut])
    assert "first" in store.read()
    with store.writing() as writer:
        writer.add("third", record("c"))
    assert store.read().keys() >= {"first", "third"}
    assert "second" not in store.read() or cut == 1, "of which only the end of the line is missing"


@pytest.mark.parametrize("line", ["[]", "null", '{"task": "denoising"}', '{"key": "k", "other": 1}', "\x00"])
def test_other_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    store = RecordStore(tmp_path)
    with store.writing() as writer:
        writer.add("first", record("a"))
    with store.file.open("a") as stream:
        stream.write(line + "\n")
    assert store.read().keys() == {"first"}


def test_each_record_is_on_disk_before_the_next_is_measured(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    with store.writing() as writer:
        writer.add("first", record("a"))
        assert json.loads(store.file.read_text())["key"] == "first"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(AbairError, match=r"records.* cannot be written"), RecordStore(tmp_path).writing():
        pass
