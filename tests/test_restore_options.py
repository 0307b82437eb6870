from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.restore import Abair


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Abair:
    return Abair.from_pretrained(bundle_path, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes is 0; expected 1 or more"),
        ({"passes": 2, "blend": "pixel"}, "passes is 2 and the blend is pixel; expected one of one_hot, soft"),
        ({"passes": 2, "blend": "rain"}, "passes is 2 and the blend is rain; expected"),
        ({"passes": 2, "weights": {"rain": 1.0}}, "passes is 2 and weights are given; expected"),
    ],
)
def test_passes_that_no_estimator_can_choose_are_refused(model: Abair, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.restore(torch.rand(3, 40, 56), **options)
