"""Crops and flips on the CPU, by albumentations."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import below asks a package index for a newer version

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from abair_pl.errors import ShardError

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]


class Augmentation:
    """Cut a square patch out of a photograph, or the same patch out of both images of a pair.

    The patch is a function of the seed that is given with each call, so neither workers nor epochs share a stream.

    Args:
        patch_px: Side of the patch; smaller images are extended by reflection. None passes images whole.
        random: Random position, flips and quarter turns; else the centre as it is.
    """

    def __init__(self, patch_px: int | None, random: bool) -> None:
        if patch_px is None:
            self.compose = A.Compose([], additional_targets={"degraded": "image"})
            return
        pad = A.PadIfNeeded(min_height=patch_px, min_width=patch_px, border_mode=cv2.BORDER_REFLECT_101)
        if random:
            steps = [pad, A.RandomCrop(patch_px, patch_px), A.HorizontalFlip(p=0.5), A.RandomRotate90(p=1.0)]
        else:
            steps = [pad, A.CenterCrop(patch_px, patch_px)]
        self.compose = A.Compose(steps, additional_targets={"degraded": "image"})

    def __call__(self, clean: NDArray[np.uint8], degraded: NDArray[np.uint8] | None, seed: int) -> Pair:
        """Cut the patch.

        Args:
            clean: ``(H, W, 3)``.
            degraded: The same shape, or None.
            seed: Where the patch lies and how it is turned.

        Returns:
            Contiguous arrays ``(patch_px, patch_px, 3)``.

        Raises:
            ShardError: The two images differ in size.
        """
        if degraded is not None and degraded.shape != clean.shape:
            message = f"a pair has sizes {degraded.shape[:2]} and {clean.shape[:2]}; expected the same"
            raise ShardError(message)
        self.compose.set_random_seed(seed % 2**32)
        images = {"image": clean} if degraded is None else {"image": clean, "degraded": degraded}
        cut = self.compose(**images)
        partner = np.ascontiguousarray(cut["degraded"]) if degraded is not None else None
        return np.ascontiguousarray(cut["image"]), partner
