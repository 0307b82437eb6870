import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from abair_pl.batch import PhotoBatch
from abair_pl.data.augment import Augmentation
from abair_pl.data.manifest import expand_shards
from abair_pl.data.streaming import ExactStream, PhotoSample, TrainStream, collate, read_samples
from abair_pl.errors import ImageError, ShardError

Picture = Callable[..., NDArray[np.uint8]]
Encoded = Callable[..., bytes]
WriteTar = Callable[[Path, Mapping[str, bytes]], str]
PATCH_PX = 16
SAMPLES = 12


@pytest.fixture
def shards(clean_shards: Path) -> list[str]:
    """Four shards of three photographs each."""
    return expand_shards(str(clean_shards))


def _train(shards: list[str], seed: int = 0, rank: int = 0, world_size: int = 1) -> TrainStream:
    return TrainStream(shards, Augmentation(PATCH_PX, random=True), seed, rank, world_size, buffer=4)


def _exact(shards: list[str], samples: int = SAMPLES, rank: int = 0, world_size: int = 1) -> ExactStream:
    return ExactStream(shards, samples, Augmentation(PATCH_PX, random=False), 0, rank, world_size)


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
        assert all(np.array_equal(a.clean, b.clean) for a, b in zip(first, again, strict=True))
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
        patches = [sample.clean.tobytes() for sample in _take(_train(shards), 5 * SAMPLES) if sample.key == _key(0)]
        assert len(patches) == len(set(patches)) == 5

    def test_patches_are_cut_by_the_samples_own_seed(self, shards: list[str], picture: Picture) -> None:
        for sample in _take(_train(shards), SAMPLES):
            expected, _ = Augmentation(PATCH_PX, random=True)(picture(int(sample.key[1:])), None, sample.seed)
            assert np.array_equal(sample.clean, expected)

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
        assert all(np.array_equal(sample.clean, alone[sample.key].clean) for sample in loaded)

    def test_pairs_keep_together(self, pair_shards: Path) -> None:
        for sample in _take(_train(expand_shards(str(pair_shards))), 6):
            assert sample.degraded is not None
            assert np.array_equal(sample.degraded, 255 - sample.clean)


class TestBrokenSamples:
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
        with pytest.raises(ShardError, match=r"\d+ of 2\d\d samples cannot be decoded, the last: 001\.png"):
            _take(_train([shard(10)]), 400)

    def test_validation_does_not_leave_any_out(self, shard: Callable[[int], str]) -> None:
        with pytest.raises(ImageError, match=r"001\.png: not a readable image"):
            list(_exact([shard(4)], samples=4))

    def test_members_of_other_kinds_are_fatal(self, tmp_path: Path, write_tar: WriteTar) -> None:
        shard = write_tar(tmp_path / "other.tar", {"a.pickle": b"data"})
        with pytest.raises(ShardError, match=r"a\.pickle in .*other\.tar"):
            _take(_train([shard]), 1)

    @pytest.mark.parametrize("kept", [0, 100, 700])
    def test_a_shard_cut_short_is_named(self, clean_shards: Path, tmp_path: Path, kept: int) -> None:
        shard = tmp_path / "short.tar"
        shard.write_bytes((clean_shards / "clean-000000.tar").read_bytes()[:kept])
        with pytest.raises(ShardError, match=r"short\.tar"):
            list(read_samples([str(shard)]))

    @pytest.mark.parametrize("kept", [0, 1, 100, 511])
    def test_a_shard_cut_short_in_a_later_header_is_named(self, tmp_path: Path, write_tar: WriteTar, kept: int) -> None:
        shard = Path(write_tar(tmp_path / "short.tar", {"a.png": b"first", "b.png": b"second"}))
        shard.write_bytes(shard.read_bytes()[: 2 * 512 + kept])  # after a header and a block of data
        samples = read_samples([str(shard)])
        with pytest.raises(ShardError, match=r"short\.tar: not a readable shard"):
            list(samples)

    def test_a_shard_with_a_damaged_later_header_is_named(self, tmp_path: Path, write_tar: WriteTar) -> None:
        shard = Path(write_tar(tmp_path / "damaged.tar", {"a.png": b"first", "b.png": b"second"}))
        data = bytearray(shard.read_bytes())
        data[2 * 512] ^= 1
        shard.write_bytes(data)
        with pytest.raises(ShardError, match=r"damaged\.tar: not a readable shard"):
            list(read_samples([str(shard)]))


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
            assert np.array_equal(sample.clean, picture(int(sample.key[1:]))[12:28, 16:32])

    def test_it_can_be_read_again(self, shards: list[str]) -> None:
        stream = _exact(shards)
        assert _order(list(stream)) == _order(list(stream))

    def test_shards_without_samples_are_refused(self, tmp_path: Path, write_tar: WriteTar) -> None:
        with pytest.raises(ShardError, match=r"empty\.tar.* hold no sample"):
            list(_exact([write_tar(tmp_path / "empty.tar", {})], samples=2))


class TestCollate:
    @pytest.fixture
    def samples(self, picture: Picture) -> list[PhotoSample]:
        """Three pairs, the last a filler."""
        pairs = [(picture(index, 8, 8), picture(index + 9, 8, 8)) for index in range(3)]
        return [PhotoSample(*pair, f"k{index}", 2**53 - 1 - index, index < 2) for index, pair in enumerate(pairs)]

    def test_arrays_become_one_batch(self, samples: list[PhotoSample]) -> None:
        batch = collate(samples)
        assert batch.clean.shape == (3, 3, 8, 8)
        assert batch.clean.dtype == torch.uint8
        assert batch.degraded is not None
        for index, sample in enumerate(samples):
            assert sample.degraded is not None
            assert np.array_equal(batch.clean[index].permute(1, 2, 0).numpy(), sample.clean)
            assert np.array_equal(batch.degraded[index].permute(1, 2, 0).numpy(), sample.degraded)
        assert batch.keys == ("k0", "k1", "k2")
        assert batch.seeds.tolist() == [2**53 - 1, 2**53 - 2, 2**53 - 3]
        assert batch.valid.tolist() == [True, True, False]

    def test_single_photographs_have_no_partners(self, picture: Picture) -> None:
        assert collate([PhotoSample(picture(0), None, "k", 1)]).degraded is None

    def test_a_mix_of_pairs_and_photographs_is_refused(self, samples: list[PhotoSample], picture: Picture) -> None:
        with pytest.raises(ShardError, match="mix pairs and single photographs"):
            collate([*samples, PhotoSample(picture(0, 8, 8), None, "k", 1)])

    def test_a_batch_moves_its_images_and_keeps_its_seeds_on_the_host(self, samples: list[PhotoSample]) -> None:
        moved = collate(samples).to(torch.device("meta"))
        assert isinstance(moved, PhotoBatch)
        assert moved.degraded is not None
        assert {moved.clean.device.type, moved.degraded.device.type, moved.valid.device.type} == {"meta"}
        assert moved.seeds.device.type == "cpu"
