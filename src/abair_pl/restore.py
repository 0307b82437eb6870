"""Restore photographs with a bundle."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.bundle import Bundle, shipped_bundle
from abair_pl.errors import ImageError, unknown_name
from abair_pl.hub import BundleOnHub, local_bundle
from abair_pl.images import to_pixels
from abair_pl.memory import fitting_tile_px, is_out_of_memory, smaller_tile_px
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.weights import BLEND_MODES, IMAGE_BLENDS, blend_weights, fixed_weights, keep_clean, pixel_weights
from abair_pl.restore_options import ESTIMATED_BLENDS, check_device, check_passes, check_strength
from abair_pl.result import Result
from abair_pl.tiling import Tiling, restore_large


class Abair(BundleOnHub):
    """A bundle, ready to restore.

    Args:
        bundle: The bundle.
        device: ``auto`` takes a GPU where there is one.
        tile_px: Images with a longer side are done in tiles of this side; :func:`fitting_tile_px` if left out.
            Halved, for all images that follow, where memory runs out.
        overlap_px: How far neighbouring tiles reach into each other.

    Raises:
        BundleError: The bundle is damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tile_px: int | None = None,
        overlap_px: int = 192,
    ) -> None:
        check_device(device)
        chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.bundle = bundle
        self.device = torch.device(chosen)
        self.tile_px = tile_px
        self.overlap_px = overlap_px
        self.restorer: BlendedBackbone = bundle.blended().to(self.device).eval()
        self._estimator: Estimator | None = None
        self._has_estimator = bundle.estimator_is_current

    @classmethod
    def from_pretrained(  # type: ignore[override]  # nothing of a bundle's configuration is an argument
        cls,
        path: Path | str | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tile_px: int | None = None,
        overlap_px: int = 192,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Open a bundle.

        Args:
            path: The bundle's directory, or ``OWNER/NAME`` on the Hugging Face Hub; the one that ships with the package
                if left out.
            device: As in the class.
            tile_px: As in the class.
            overlap_px: As in the class.
            revision: As in :func:`abair_pl.hub.local_bundle`, and so the following.
            cache_dir: Where downloads are kept.
            token: For what not everybody may read.
            local_files_only: Download nothing.

        Raises:
            BundleError: There is no bundle, or it is damaged.
        """
        folder = shipped_bundle() if path is None else local_bundle(path, revision, cache_dir, token, local_files_only)
        return cls(Bundle.open(folder), device, tile_px, overlap_px)

    @property
    def names(self) -> list[str]:
        """The adapters, in the order of the weights."""
        return self.restorer.names

    @property
    def blends(self) -> list[str]:
        """What can be asked for as a blend: the modes, ``none`` for the plain backbone, and the adapters."""
        return [*BLEND_MODES, "none", *self.names]

    def estimator(self) -> Estimator:
        """The estimator, loaded when it is first needed.

        Raises:
            BundleError: Phase III has not been run for these adapters.
        """
        if self._estimator is None:
            self._estimator = self.bundle.estimator().to(self.device).eval()
        return self._estimator

    @torch.inference_mode()
    def estimate(self, images: Tensor, without: Collection[str] = ()) -> tuple[Tensor, Tensor]:
        """Which degradations images have, by the estimator.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
            without: Adapters whose degradations they are known not to have.

        Returns:
            Calibrated probabilities ``(B, K + 1)``, clean first, and ``(B,)`` bool, whether the damage is unlike any
            adapter.

        Raises:
            BundleError: Phase III has not been run for these adapters.
        """
        logits = self.estimator()(images.to(self.device))
        calibration = self.bundle.config.calibration
        excluded = torch.tensor([False, *(name in without for name in self.names)], device=self.device)
        return calibration.probabilities(logits.masked_fill(excluded, -torch.inf)), calibration.unknown(logits)

    @torch.inference_mode()
    def weights(self, images: Tensor, blend: str = "soft", without: Collection[str] = ()) -> tuple[Tensor, Tensor]:
        """The weights of the adapters for each image.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
            blend: ``soft``, the sharpened probabilities, none where clean is the likeliest
                (:meth:`~abair_pl.models.calibration.Calibration.weights`), ``one_hot``, ``sum``, ``average``, ``none``
                for the plain backbone, or the name of an adapter.
            without: Adapters that ``soft`` and ``one_hot`` do not choose.

        Returns:
            ``(B, K)``, and ``(B,)`` bool, whether the estimator finds the damage unlike any adapter; False where it is
            not asked.

        Raises:
            InputError: The blend is neither such a mode nor an adapter.
        """
        not_asked = torch.zeros(len(images), dtype=torch.bool, device=self.device)
        if blend in ESTIMATED_BLENDS:
            probabilities, unknown = self.estimate(images, without)
            return self.bundle.config.calibration.weights(probabilities, blend), unknown
        if blend in IMAGE_BLENDS:
            return blend_weights(torch.ones(len(images), len(self.names) + 1, device=self.device), blend), not_asked
        if blend not in self.names and blend != "none":
            raise unknown_name(blend, "blend", self.blends)
        fixed = fixed_weights({} if blend == "none" else {blend: 1.0}, self.names, len(images))
        return fixed.to(self.device), not_asked

    @torch.inference_mode()
    def restore_tensor(self, images: Tensor, weights: Tensor) -> Tensor:
        """Restore images by given mixtures; those larger than a tile one by one, in tiles.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
            weights: ``(B, K)``.

        Returns:
            ``(B, 3, H, W)`` in [0, 1] on the CPU.
        """
        here = weights.to(self.device)
        if self._tiling(images).fits(images):
            return self._through(images, lambda batch: self.restorer(batch, here)).clamp_(0.0, 1.0)
        pairs = list(zip(images.split(1), here.split(1), strict=True))
        if len(pairs) > 1:
            return torch.cat([self.restore_tensor(image, row) for image, row in pairs])
        return self._through(images, lambda part: self.restorer(part, here)).clamp_(0.0, 1.0)

    @torch.inference_mode()
    def restore_pixelwise(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restore an image by a mixture of its own for each pixel, see :func:`pixel_weights`.

        Args:
            image: ``(1, 3, H, W)`` RGB in [0, 1].

        Returns:
            ``(1, 3, H, W)`` in [0, 1] on the CPU; ``(1, K)``, the mean weights of its tiles; and ``(1,)`` bool, whether
            the estimator finds the damage unlike any adapter; False where there is none of these adapters, and so the
            segmentation head alone is asked.

        Raises:
            InputError: The bundle has no segmentation head.
            BundleError: The estimator is needed, for adapters that the segmentation head does not know, and there is
                none.
        """
        labels = self.bundle.config.degradations
        probabilities, unknown = None, torch.zeros(1, dtype=torch.bool)
        if self._has_estimator or not set(self.names) <= set(labels):
            probabilities, unknown = self.estimate(image)
        means: list[Tensor] = []

        def run(part: Tensor) -> Tensor:
            weights = pixel_weights(self.restorer.segment(part), labels, self.names, probabilities)
            if self.restorer.whole is None or not self.restorer.whole.measuring:
                means.append(weights.mean(dim=(0, 2, 3)))
            return keep_clean(part, self.restorer(part, weights), weights)

        restored = self._through(image, run).clamp_(0.0, 1.0)
        return restored, torch.stack(means).mean(dim=0, keepdim=True), unknown

    @torch.inference_mode()
    def restore(
        self,
        image: Image.Image | NDArray[np.uint8] | NDArray[np.uint16] | Tensor,
        blend: str = "soft",
        weights: Mapping[str, float] | None = None,
        with_labels: bool = True,
        strength: float = 1.0,
        passes: int = 1,
    ) -> Result:
        """Restore one image; what ``soft``, ``one_hot`` and ``pixel`` find clean stays as it is.

        Where memory runs out, it is tried again with tiles of half the side.

        With several passes, a step beyond the paper, a mixture is restored one degradation after the other: the
        estimator looks at the result again, and chooses among clean and what was not yet the likeliest in a pass, until
        it finds clean.

        Args:
            image: A PIL image, ``(H, W, 3)`` 8-bit or 16-bit RGB, or ``(3, H, W)`` float RGB in [0, 1].
            blend: ``soft``, ``one_hot``, ``pixel``, ``sum``, ``average``, ``none``, or the name of an adapter.
            weights: Weights by name instead; adapters that are not named get 0.
            with_labels: Also run the segmentation head, where there is one.
            strength: From 0, the image as it is, to 1, all that the network changes.
            passes: How often it is restored at most; more than once by ``soft`` and ``one_hot`` alone.

        Raises:
            ImageError: The image has another shape, or there is too little memory for it.
            InputError: There is no such blend or adapter, the strength is not in [0, 1], or the blend has no passes.
        """
        check_strength(strength)
        check_passes(passes, blend, weights)
        pixels = to_pixels(image)[None]
        result = self._in_memory(pixels, partial(self._restored, pixels, blend, weights, with_labels))
        for _ in range(1, passes):
            before = result
            result = self._in_memory(pixels, partial(self._once_more, before, blend))
            if result is before:
                break
        return result if strength == 1.0 else replace(result, restored=torch.lerp(pixels[0], result.restored, strength))

    def _in_memory(self, image: Tensor, run: Callable[[], Result]) -> Result:
        """Run what restores an image, with ever smaller tiles where memory runs out."""
        while True:
            try:
                return run()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._take_smaller_tiles(image)  # where the error holds no more of what filled the memory

    def _restored(self, pixels: Tensor, blend: str, weights: Mapping[str, float] | None, with_labels: bool) -> Result:
        """What :meth:`restore` finds for ``(1, 3, H, W)``; the estimator is asked once, for all of the image."""
        if weights is None and blend == "pixel":
            restored, chosen, unknown = self.restore_pixelwise(pixels)
        else:
            given = fixed_weights(weights or {}, self.names, 1), torch.zeros(1, dtype=torch.bool)
            chosen, unknown = self.weights(pixels, blend) if weights is None else given
            estimated = weights is None and blend in ESTIMATED_BLENDS
            restored = self._as_estimated(pixels, chosen) if estimated else self.restore_tensor(pixels, chosen)
        labels = None
        if with_labels and self.bundle.config.architecture.head_dim:
            labels = self._through(pixels, self.restorer.segment)[0].argmax(dim=0).cpu()
        return Result(restored[0], self._by_name(chosen), labels, bool(unknown))

    def _once_more(self, result: Result, blend: str) -> Result:
        """A result restored again by what else the estimator finds in it; itself where that is nothing."""
        if not any(result.weights.values()):
            return result
        image, taken = result.restored[None], {max(found, key=found.__getitem__) for found in result.of_passes}
        chosen, _ = self.weights(image, blend, without=taken)
        if not chosen.any():
            return result
        restored = self._as_estimated(image, chosen)[0]
        return replace(result, restored=restored, further=(*result.further, self._by_name(chosen)))

    def _as_estimated(self, pixels: Tensor, weights: Tensor) -> Tensor:
        """``(1, 3, H, W)`` restored as far as it is damaged, by weights that are probabilities."""
        return keep_clean(pixels, self.restore_tensor(pixels, weights), weights.cpu())

    def _by_name(self, weights: Tensor) -> dict[str, float]:
        return dict(zip(self.names, weights[0].tolist(), strict=True))

    def _take_smaller_tiles(self, image: Tensor) -> None:
        tiling = self._tiling(image)
        smaller = smaller_tile_px(min(tiling.tile_px, max(image.shape[2:])), tiling.stride_px)
        if smaller is None:
            size = f"{image.shape[3]} x {image.shape[2]} pixels"
            message = f"too little memory for {size}, even in small tiles; close other programs, or scale it down"
            raise ImageError(message)
        self.tile_px, self.overlap_px = smaller, min(self.overlap_px, smaller * 3 // 8)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _tiling(self, images: Tensor) -> Tiling:
        chosen = self.tile_px
        if chosen is None:
            chosen = fitting_tile_px(images.shape, self.bundle.config.architecture, self.device)
        return Tiling(chosen, self.overlap_px, self.restorer.backbone.window_stride_px)

    def _through(self, image: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """An image through a function of parts of it on the device: at once, or in tiles."""
        tiling = self._tiling(image)
        if tiling.fits(image):
            return run(image.to(self.device, memory_format=torch.channels_last)).float().cpu()
        return restore_large(self.restorer, image, run, tiling, self.device)
