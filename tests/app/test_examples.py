import torch

from abair_pl.app.examples import DEGRADATIONS, make_examples
from abair_pl.degradations import PAPER_FIVE


def test_examples_are_photographs_with_what_their_names_say() -> None:
    examples = make_examples()
    assert [example.damage for example in examples] == ["noise", "rain", "low light"]
    for example, (name, text) in zip(examples, DEGRADATIONS.items(), strict=True):
        assert example.name == name
        assert text.partition(":")[0] in PAPER_FIVE
        assert max(example.pixels.shape[1:]) == 448
        assert 0.0 <= example.pixels.min() < example.pixels.max() <= 1.0
    assert examples[2].pixels.mean() < 0.5 * examples[0].pixels.mean()  # low light is dark


def test_examples_are_the_same_each_time(lookups: list[str]) -> None:
    asked = len(lookups)
    for first, second in zip(make_examples(), make_examples(), strict=True):
        assert torch.equal(first.pixels, second.pixels)
    assert lookups[asked:] == []
