from pathlib import Path

import pytest
from torch import distributed

from abair_pl.errors import InputError
from abair_pl.process_group import leaving_process_group


def gloo_threads() -> int:
    return sum(path.read_text().startswith("pt_gloo") for path in Path("/proc/self/task").glob("*/comm"))


@pytest.mark.parametrize("error", [None, InputError("no room"), SystemExit(2)])
def test_no_thread_of_the_group_is_left(error: BaseException | None, tmp_path: Path) -> None:
    def work() -> None:
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        gathered: list[object] = [None]
        distributed.all_gather_object(gathered, "a message")
        assert gloo_threads() > 0
        if error is not None:
            raise error

    if error is None:
        with leaving_process_group():
            work()
    else:
        with pytest.raises(type(error)), leaving_process_group():
            work()
    assert not distributed.is_initialized()
    assert gloo_threads() == 0


def test_one_process_alone_has_nothing_to_leave() -> None:
    with leaving_process_group():
        assert not distributed.is_initialized()
    assert not distributed.is_initialized()
