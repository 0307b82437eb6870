"""Crops and flips on the CPU, by albumentations."""

import os
from random import Random
from typing import Any, NamedTuple

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import below asks a package index for a newer version

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray


class Patch(NamedTuple):
    """What is cut out of a sample; contiguous arrays of one size.

    Attributes:
        clean: ``(H, W, 3)`` uint8.
        degraded: The same shape, or None.
        depth: ``(H, W)`` float32, or None.
    """

    clean: NDArray[np.uint8]
    degraded: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None


class Augmentation:
    """Cut a square patch out of a photograph, or the same patch out of both images of a pair and out of the depth.

    The patch is a function of the seed that is given with each call, so neither workers nor epochs share a stream.

    Args:
        patch_px: Side of the patch; smaller images are extended by reflection. None passes images whole.
        random: Random position, flips and quarter turns; else the centre as it is.
    """

    def __init__(self, patch_px: int | None, random: bool) -> None:
        self.compose: A.Compose | None = None
        if patch_px is None:
            return
        # Cropping pads where it must, while PadIfNeeded copies every photograph; and one of the eight symmetries is a
        # step less than flips and turns. Together this saves a quarter of the time.
        extended = {"pad_if_needed": True, "border_mode": cv2.BORDER_REFLECT_101}
        if random:
            steps = [A.RandomCrop(patch_px, patch_px, **extended), A.D4(p=1.0)]
        else:
            steps = [A.CenterCrop(patch_px, patch_px, **extended)]
        self.compose = A.Compose(steps, additional_targets={"degraded": "image", "depth": "mask"})

    def __call__(self, whole: Patch, seed: int) -> Patch:
        """Cut the patch.

        Args:
            whole: The sample's arrays ``(H, W, ...)``, of one size.
            seed: Where the patch lies and how it is turned.

        Returns:
            Arrays ``(patch_px, patch_px, ...)``.
        """
        if self.compose is None:
            return whole
        # One generator for all steps; set_random_seed() makes one for each, which takes five times as long, and of the
        # same seed, so that some steps draw the same numbers.
        self.compose.set_random_state(np.random.default_rng(seed), Random(seed))  # noqa: S311
        images: dict[str, Any] = {"image": whole.clean, "degraded": whole.degraded, "depth": whole.depth}
        cut = self.compose(**{name: array for name, array in images.items() if array is not None})
        patch = {name: np.ascontiguousarray(array) for name, array in cut.items()}
        return Patch(patch["image"], patch.get("degraded"), patch.get("depth"))
