import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from abair_pl.data.augment import Augmentation, Patch
from abair_pl.data.decode import decode_sample
from abair_pl.data.streaming import stream
from abair_pl.data.streaming.collate import PhotoSample
from abair_pl.data.streaming.fetch import ShardOpener
from abair_pl.data.streaming.progress import Progress
from abair_pl.data.streaming.sources import Source, expand_shards
from abair_pl.data.streaming.stream import ExactStream, TrainStream
from abair_pl.errors import ShardError

Picture = Callable[..., NDArray[np.uint8]]
Encoded = Callable[..., bytes]
WriteTar = Callable[[Path, Mapping[str, bytes]], str]
PATCH_PX = 16
SAMPLES = 12


@pytest.fixture
def shards(clean_shards: Path) -> list[str]:
    """Four shards of three photographs each."""
    return expand_shards(str(clean_shards))


def _train(
    shards: list[str],
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
    max_broken_share: float = 0.01,
) -> TrainStream:
    sources = [Source("all", shards, 1.0)]
    return _mixed(sources, seed, rank, world_size, progress, max_broken_share)


def _mixed(
    sources: list[Source],
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
    max_broken_share: float = 0.01,
) -> TrainStream:
    augmentation = Augmentation(PATCH_PX, random=True)
    progress = progress or Progress()
    opener = ShardOpener()
    return TrainStream(sources, augmentation, seed, rank, world_size, 4, opener, max_broken_share, progress)


def _exact(shards: list[str], samples: int = SAMPLES, rank: int = 0, world_size: int = 1) -> ExactStream:
    return ExactStream(shards, samples, Augmentation(PATCH_PX, random=False), 0, rank, world_size, ShardOpener())


def _take(stream: Iterable[PhotoSample], count: int) -> list[PhotoSample]:
    return list(itertools.islice(stream, count))


def _order(samples: list[PhotoSample]) -> list[tuple[str, int]]:
    return [(sample.key, sample.seed) for sample in samples]


def _loader(stream: TrainStream | ExactStream, workers: int) -> DataLoader[PhotoSample]:
    return DataLoader(stream, batch_size=None, num_workers=workers)


def _key(index: int) -> str:
    return f"p{index:02d}"


class TestTrainStream:
    def test_order_and_patches_are_a_function_of_the_seed(self, shards: list[str]) -> None:
        first, again, other = (_take(_train(shards, seed), 30) for seed in (1, 1, 2))
        assert _order(first) == _order(again)
        assert all(np.array_equal(a.patch.clean, b.patch.clean) for a, b in zip(first, again, strict=True))
        assert [sample.key for sample in first] != [sample.key for sample in other]
        assert not {sample.seed for sample in first} & {sample.seed for sample in other}

    def test_an_epoch_gives_each_photograph_once_in_its_own_order(self, shards: list[str]) -> None:
        stream = iter(_train(shards))
        epochs = [[sample.key for sample in _take(stream, SAMPLES)] for _ in range(4)]
        assert all(sorted(epoch) == [_key(index) for index in range(SAMPLES)] for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4

    def test_samples_of_different_shards_are_mixed(self, shards: list[str]) -> None:
        keys = [sample.key for sample in _take(_train(shards), SAMPLES)]
        runs = [len(list(run)) for _, run in itertools.groupby(int(key[1:]) // 3 for key in keys)]
        assert max(runs) < 3 or len(runs) > 4

    def test_a_photograph_gets_another_patch_in_each_epoch(self, shards: list[str]) -> None:
        patches = [
            sample.patch.clean.tobytes() for sample in _take(_train(shards), 5 * SAMPLES) if sample.key == _key(0)
        ]
        assert len(patches) == len(set(patches)) == 5

    def test_patches_are_cut_by_the_samples_own_seed(self, shards: list[str], picture: Picture) -> None:
        for sample in _take(_train(shards), SAMPLES):
            expected = Augmentation(PATCH_PX, random=True)(Patch(picture(int(sample.key[1:]))), sample.seed)
            assert np.array_equal(sample.patch.clean, expected.clean)

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_ranks_are_disjoint_within_each_epoch_and_cover_it(self, shards: list[str], world_size: int) -> None:
        streams = [iter(_train(shards, rank=rank, world_size=world_size)) for rank in range(world_size)]
        for _ in range(3):
            epoch = [sample.key for stream in streams for sample in _take(stream, SAMPLES // world_size)]
            assert sorted(epoch) == [_key(index) for index in range(SAMPLES)]

    def test_the_seed_of_a_sample_does_not_depend_on_the_ranks(self, shards: list[str]) -> None:
        alone = _take(_train(shards), SAMPLES)
        shared = [sample for rank in (0, 1) for sample in _take(_train(shards, 0, rank, 2), SAMPLES // 2)]
        assert sorted(_order(alone)) == sorted(_order(shared))

    def test_workers_share_an_epoch_and_cut_the_same_patches(self, shards: list[str]) -> None:
        alone = {sample.key: sample for sample in _take(_train(shards), SAMPLES)}
        loaded = _take(_loader(_train(shards), workers=2), SAMPLES)
        assert sorted(_order(loaded)) == sorted(_order(list(alone.values())))
        assert all(np.array_equal(sample.patch.clean, alone[sample.key].patch.clean) for sample in loaded)

    def test_pairs_keep_together(self, pair_shards: Path) -> None:
        for sample in _take(_train(expand_shards(str(pair_shards))), 6):
            assert sample.patch.degraded is not None
            assert np.array_equal(sample.patch.degraded, 255 - sample.patch.clean)

    def test_pairs_are_given_what_their_shards_show(self, pair_shards: Path) -> None:
        shards = expand_shards(str(pair_shards))
        damages = {shards[0]: "sleet"}
        cut = Augmentation(PATCH_PX, random=True)
        trained = TrainStream([Source("all", shards, 1.0)], cut, 0, 0, 1, 4, ShardOpener(), 0.0, Progress(), damages)
        exact = ExactStream(shards, 6, Augmentation(PATCH_PX, random=False), 0, 0, 1, ShardOpener(), damages)
        for pairs in (trained, exact):
            found = {sample.key: sample.damage for sample in _take(pairs, 6)}
            assert found == {f"p{index}": "sleet" if index < 3 else "" for index in range(6)}

    def test_depth_is_cut_as_its_photograph_is(
        self, tmp_path: Path, picture: Picture, encoded: Encoded, write_tar: WriteTar
    ) -> None:
        red = encoded(picture(0)[..., 0])
        shard = write_tar(tmp_path / "depth.tar", {"a.png": encoded(picture(0)), "a.depth.png": red})
        for sample in [*_take(_train([shard]), 3), *_exact([shard], samples=1)]:
            assert sample.patch.depth is not None
            assert np.allclose(sample.patch.depth, sample.patch.clean[..., 0] / 255.0)


class TestBrokenSamples:
    @pytest.fixture
    def members(
        self, picture: Picture, encoded: Encoded, png_header: Callable[[int, int], bytes]
    ) -> dict[str, dict[str, bytes]]:
        """Samples that cannot be used, by what is wrong with them."""
        jpeg, png, small = encoded(picture(0), "JPEG"), encoded(picture(0)), encoded(picture(0, 8, 8))
        return {
            "truncated": {"b.jpg": jpeg[: len(jpeg) // 2]},
            "empty": {"b.jpg": b""},
            "unequal": {"b.input.png": png, "b.target.png": small},
            "bomb": {"b.png": png_header(30_000, 30_000)},
            "depth": {"b.jpg": jpeg, "b.depth.png": small},
        }

    @pytest.mark.parametrize("kind", ["truncated", "empty", "unequal", "bomb", "depth"])
    def test_one_is_left_out_counted_and_named(
        self,
        kind: str,
        members: dict[str, dict[str, bytes]],
        tmp_path: Path,
        picture: Picture,
        encoded: Encoded,
        write_tar: WriteTar,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        good = {f"{name}.png": encoded(picture(0)) for name in "ac"}
        shard = write_tar(tmp_path / "broken.tar", {**good, **members[kind]})
        samples = _take(_train([shard]), 7)
        assert {sample.key for sample in samples} == {"a", "c"}
        assert sum(sample.broken for sample in samples) in (3, 4)
        assert f"sample b of {shard} is left out: b" in caplog.messages[0]

    @pytest.mark.parametrize("kind", ["truncated", "empty", "unequal", "bomb", "depth"])
    def test_validation_names_it_and_ends(
        self, kind: str, members: dict[str, dict[str, bytes]], tmp_path: Path, write_tar: WriteTar
    ) -> None:
        shard = write_tar(tmp_path / "broken.tar", members[kind])
        with pytest.raises(ShardError, match=r"broken\.tar: b.*none is left out"):
            list(_exact([shard], samples=1))

    @pytest.fixture
    def shard(self, tmp_path: Path, picture: Picture, encoded: Encoded, write_tar: WriteTar) -> Callable[[int], str]:
        """``shard(count)``: that many photographs, the second of which is cut short."""

        def write(count: int) -> str:
            members = {f"{index:03d}.png": encoded(picture(index, 8, 8)) for index in range(count)}
            members["001.png"] = members["001.png"][:90]
            return write_tar(tmp_path / "broken.tar", members)

        return write

    def test_few_are_left_out(self, shard: Callable[[int], str]) -> None:
        samples = _take(_train([shard(150)]), 450)
        counts = Counter(sample.key for sample in samples)
        assert "001" not in counts
        assert len(counts) == 149
        assert set(counts.values()) <= {3, 4}

    def test_too_many_end_the_training_with_their_number(self, shard: Callable[[int], str]) -> None:
        with pytest.raises(ShardError, match=r"\d+ of 2\d\d samples cannot be decoded, the last 001 .*at most 1\.00%"):
            _take(_train([shard(10)]), 400)

    def test_how_many_are_too_many_can_be_set(self, shard: Callable[[int], str]) -> None:
        assert len(_take(_train([shard(10)], max_broken_share=0.11), 400)) == 400

    def test_only_the_first_few_are_named(self, shard: Callable[[int], str], caplog: pytest.LogCaptureFixture) -> None:
        samples = _take(_train([shard(10)], max_broken_share=1.0), 100)
        assert sum(sample.broken for sample in samples) > 5
        assert len(caplog.messages) == 5
        assert caplog.messages[-1].endswith("more are only counted, as data/broken")

    def test_members_of_other_kinds_are_fatal(self, tmp_path: Path, write_tar: WriteTar) -> None:
        shard = write_tar(tmp_path / "other.tar", {"a.pickle": b"data"})
        with pytest.raises(ShardError, match=r"a\.pickle in .*other\.tar"):
            _take(_train([shard]), 1)


class TestExactStream:
    @pytest.mark.parametrize("world_size", [1, 2, 3, 5, 13])
    def test_each_sample_once_over_ranks_of_equal_length(self, shards: list[str], world_size: int) -> None:
        ranks = [list(_exact(shards, rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert {len(rank) for rank in ranks} == {-(-SAMPLES // world_size)}
        valid = [sample.key for rank in ranks for sample in rank if sample.valid]
        assert sorted(valid) == [_key(index) for index in range(SAMPLES)]
        assert all(sample.valid for rank in ranks for sample in rank[: SAMPLES // world_size])

    @pytest.mark.parametrize("world_size", [1, 2, 5])
    def test_workers_share_the_work_of_their_rank(self, shards: list[str], world_size: int) -> None:
        ranks = [
            list(_loader(_exact(shards, rank=rank, world_size=world_size), workers=2)) for rank in range(world_size)
        ]
        assert {len(rank) for rank in ranks} == {2 * -(-SAMPLES // (2 * world_size))}
        valid = [sample.key for rank in ranks for sample in rank if sample.valid]
        assert sorted(valid) == [_key(index) for index in range(SAMPLES)]

    def test_centres_and_seeds_do_not_depend_on_the_ranks(self, shards: list[str], picture: Picture) -> None:
        alone = list(_exact(shards))
        shared = [sample for rank in range(3) for sample in _exact(shards, rank=rank, world_size=3)]
        assert sorted(_order(alone)) == sorted(_order(shared))
        for sample in alone:
            assert np.array_equal(sample.patch.clean, picture(int(sample.key[1:]))[12:28, 16:32])

    def test_it_can_be_read_again(self, shards: list[str]) -> None:
        stream = _exact(shards)
        assert _order(list(stream)) == _order(list(stream))

    @pytest.mark.parametrize("samples", [11, 13])
    def test_a_count_other_than_the_manifests_is_an_error_on_all_ranks(self, shards: list[str], samples: int) -> None:
        for rank in range(2):
            with pytest.raises(ShardError, match=rf"hold 12 samples, their manifests {samples}"):
                list(_exact(shards, samples=samples, rank=rank, world_size=2))

    def test_shards_without_samples_are_refused(self, tmp_path: Path, write_tar: WriteTar) -> None:
        empty = write_tar(tmp_path / "empty.tar", {})
        with pytest.raises(ShardError, match=r"empty\.tar hold 0 samples"):
            list(_exact([empty], samples=0))
        with pytest.raises(ShardError, match="worker 0 of 1 reads hold no sample"):
            _take(_train([empty]), 1)


class TestMixing:
    WEIGHTS: ClassVar = [0.7, 0.3]

    @pytest.fixture
    def sources(
        self, shards: list[str], tmp_path: Path, picture: Picture, encoded: Encoded, write_tar: WriteTar
    ) -> list[Source]:
        """The twelve photographs, and four others in two shards."""
        names = [["leaf0.png", "leaf1.png"], ["leaf2.png", "leaf3.png"]]
        leaves = [
            write_tar(tmp_path / f"leaves-{number}.tar", {name: encoded(picture(50)) for name in within})
            for number, within in enumerate(names)
        ]
        return [Source("gld", shards, self.WEIGHTS[0]), Source("leaves", leaves, self.WEIGHTS[1])]

    def test_shares_come_out_as_the_weights_say(self, sources: list[Source]) -> None:
        count = 1500
        share = sum(sample.key.startswith("leaf") for sample in _take(_mixed(sources), count)) / count
        assert abs(share - 0.3) < 4 * (0.3 * 0.7 / count) ** 0.5

    def test_the_draw_is_a_function_of_the_seed_and_the_worker(self, sources: list[Source]) -> None:
        first, again = (_order(_take(_mixed(sources, seed=3), 60)) for _ in range(2))
        assert first == again
        drawn = {
            tuple(key.startswith("leaf") for key, _ in _order(_take(_mixed(sources, seed, rank, 2), 60)))
            for seed in (3, 4)
            for rank in (0, 1)
        }
        assert len(drawn) == 4

    def test_each_source_has_epochs_of_its_own(self, sources: list[Source]) -> None:
        leaves = [sample.key for sample in _take(_mixed(sources), 200) if sample.key.startswith("leaf")]
        for epoch in range(len(leaves) // 4):
            assert sorted(leaves[4 * epoch : 4 * epoch + 4]) == ["leaf0", "leaf1", "leaf2", "leaf3"]

    def test_it_goes_on_where_it_stood(self, sources: list[Source]) -> None:
        whole = _take(_mixed(sources), 80)
        for step in (1, 17, 50):
            progress = Progress()
            position = whole[step - 1].position
            assert position is not None
            progress.note(position, 0, 1)
            assert _order(_take(_mixed(sources, progress=progress), 30)) == _order(whole[step : step + 30])


class TestResume:
    @pytest.mark.parametrize("step", [1, 5, 11, 12, 13, 30])
    def test_the_next_sample_follows(self, shards: list[str], step: int) -> None:
        whole = _take(_train(shards), 60)
        progress = Progress()
        position = whole[step - 1].position
        assert position is not None
        progress.note(position, 0, 1)
        assert _order(_take(_train(shards, progress=progress), 25)) == _order(whole[step : step + 25])

    def test_samples_that_were_seen_are_not_decoded_again(
        self, shards: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = _take(_train(shards), 12)
        progress = Progress()
        position = whole[8].position
        assert position is not None
        progress.note(position, 0, 1)
        decoded: list[str] = []

        def spy(sample: Mapping[str, Any]) -> dict[str, Any]:
            decoded.append(sample["__key__"])
            return decode_sample(sample)

        monkeypatch.setattr(stream, "decode_sample", spy)
        _take(_train(shards, progress=progress), 3)
        assert decoded == [sample.key for sample in whole[9:]]
