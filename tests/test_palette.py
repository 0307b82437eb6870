import numpy as np
import torch

from abair_pl.palette import LABEL_COLORS, paint_labels


def test_colors_differ() -> None:
    assert len(np.unique(LABEL_COLORS, axis=0)) == len(LABEL_COLORS)


def test_labels_get_their_colors_in_turn() -> None:
    labels = torch.tensor([[0, 1], [len(LABEL_COLORS), 2]])
    painted = paint_labels(labels)
    assert painted.shape == (2, 2, 3)
    assert painted.dtype == np.uint8
    assert np.array_equal(painted, LABEL_COLORS[[[0, 1], [0, 2]]])
