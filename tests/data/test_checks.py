import shutil
import warnings
from pathlib import Path

import pytest

from abair_pl.data.checks import check_complete, check_measured, check_readers
from abair_pl.data.streaming.sources import Source
from abair_pl.data.synthesis import Synthesis, SynthesisConfig
from abair_pl.errors import InputError, ShardError


def listed(*folders: Path) -> list[str]:
    return [str(path) for folder in folders for path in sorted(folder.glob("*.tar"))]


def test_every_reader_needs_a_shard_of_every_source() -> None:
    sources = [Source("many", ["a", "b", "c", "d"], 0.5), Source("few", ["e", "f"], 0.5)]
    check_readers(sources, ranks=1, workers=2)
    with pytest.raises(ShardError, match="2 training shards in few for 2 ranks x 2 workers; expected at least 4"):
        check_readers(sources, ranks=2, workers=2)


def test_what_is_measured_has_samples(clean_shards: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_measured(listed(clean_shards), readers=8)
    shutil.copy(clean_shards / "clean-000000.tar", tmp_path)
    with pytest.raises(ShardError, match=r"has no manifest\.json"):
        check_measured(listed(tmp_path), readers=1)


@pytest.mark.parametrize(
    ("names", "folders", "missing"),
    [
        (["rain", "haze"], ["clean_shards"], ""),
        (["rain", "sleet"], ["clean_shards", "sleet_shards"], ""),
        (["snowfall"], ["sleet_shards"], ""),
        (["snowfall"], ["pair_shards"], ""),
        (["sleet", "rain"], ["sleet_shards"], "rain"),
        (["rain", "sleet"], ["clean_shards"], "sleet"),
        (["rain", "haze"], ["pair_shards"], "rain"),
    ],
)
def test_there_is_something_of_every_degradation(
    names: list[str], folders: list[str], missing: str, request: pytest.FixtureRequest
) -> None:
    shards = listed(*(request.getfixturevalue(folder) for folder in folders))
    synthesis = Synthesis(SynthesisConfig(), names, ["sleet"])
    if not missing:
        check_complete(shards, "train", synthesis)
        return
    with pytest.raises(InputError, match=f"nothing to measure {missing} on"):
        check_complete(shards, "measure", synthesis)
