import os
import time
from functools import partial
from pathlib import Path

import pytest

from abair_pl.data.shards.parallel import in_processes
from abair_pl.errors import InputError, ShardError


def _square(number: int) -> int:
    return number**2


def _process(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def _refuse(folder: Path, number: int) -> int:
    (folder / str(number)).touch()
    if number == 0:
        message = "0 is refused"
        raise ShardError(message)
    time.sleep(0.01)
    return number


def test_every_job_gives_its_result() -> None:
    assert sorted(in_processes(_square, range(20), workers=3)) == [number**2 for number in range(20)]
    assert list(in_processes(_square, [], workers=0)) == []


def test_work_is_shared_by_other_processes() -> None:
    processes = set(in_processes(_process, range(8), workers=2))
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_a_failure_stops_what_has_not_begun(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="0 is refused"):
        list(in_processes(partial(_refuse, tmp_path), range(1000), workers=1))
    assert len(list(tmp_path.iterdir())) < 1000


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(InputError, match="workers is -2; expected 0 for one a core"):
        list(in_processes(_square, [1], workers=-2))
