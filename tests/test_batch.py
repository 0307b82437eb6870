import torch

from abair_pl.batch import PhotoBatch, RestorationBatch


def photo_batch(damages: tuple[str | None, ...]) -> PhotoBatch:
    """Samples whose pixels, seeds and depth are their numbers."""
    count = len(damages)
    images = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).to(torch.uint8)
    keys = tuple(f"p{index}" for index in range(count))
    degraded = images + 100 if any(damage is not None for damage in damages) else None
    depth = images[:, :1].float()
    return PhotoBatch(
        images,
        degraded,
        keys,
        torch.arange(count),
        torch.arange(count) > 0,
        depth,
        damages=damages if degraded is not None else (),
    )


def test_a_batch_without_pairs_is_its_photographs() -> None:
    batch = photo_batch((None, None))
    assert batch.part(pairs=False) is batch
    assert batch.part(pairs=True) is None


def test_a_batch_of_pairs_has_no_photographs() -> None:
    batch = photo_batch(("rain", ""))
    assert batch.part(pairs=True) is batch
    assert batch.part(pairs=False) is None


def test_a_part_has_all_of_its_samples() -> None:
    batch = photo_batch(("rain", None, "haze"))
    pairs, photographs = batch.part(pairs=True), batch.part(pairs=False)
    assert pairs is not None
    assert photographs is not None
    assert pairs.degraded is not None
    assert photographs.degraded is None
    assert (pairs.damages, photographs.damages) == (("rain", "haze"), ())
    for part, rows in ((pairs, [0, 2]), (photographs, [1])):
        assert part.keys == tuple(f"p{row}" for row in rows)
        assert part.seeds.tolist() == part.clean[:, 0, 0, 0].tolist() == rows
        assert part.valid.tolist() == [row > 0 for row in rows]
        assert part.depth is not None
        assert part.depth[:, 0, 0, 0].tolist() == rows
    assert pairs.degraded[:, 0, 0, 0].tolist() == [100, 102]


def test_batches_are_joined_in_their_order() -> None:
    images, labels = torch.rand(3, 3, 2, 2), torch.arange(3).view(-1, 1, 1).expand(-1, 2, 2)
    shares = torch.eye(3)
    whole = RestorationBatch(images, images / 2, labels, shares, ("a", "b", "c"), torch.tensor([True, False, True]))
    parts = [
        RestorationBatch(images[at], images[at] / 2, labels[at], shares[at], whole.keys[at], whole.valid[at])
        for at in (slice(0, 1), slice(1, 3))
    ]
    joined = RestorationBatch.joined(parts)
    for name in ("clean", "degraded", "labels", "shares", "valid"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    assert joined.keys == whole.keys
    assert RestorationBatch.joined([whole]) is whole
