"""Restore photographs with a bundle: the Python class and the command."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from abair_pl.bundle import Bundle, shipped_bundle
from abair_pl.errors import AbairError, ImageError, InputError, unknown_name
from abair_pl.images import Photograph, find_images, read_photograph, to_8bit, write_photograph
from abair_pl.models.blend import BLEND_MODES, BlendedBackbone, blend_weights, fixed_weights, parse_weights
from abair_pl.models.estimator import Estimator
from abair_pl.tiling import tiled

MIN_SIDE_PX = 8
"""Below this there is nothing to restore from."""


@dataclass(frozen=True)
class Result:
    """What :meth:`Abair.restore` gives back.

    Attributes:
        restored: ``(3, H, W)`` RGB float32 in [0, 1], on the CPU.
        weights: The weight of each adapter by name.
        labels: ``(H, W)`` int64, the degradation that the segmentation head sees at each pixel, 0 is clean; None where
            they were not asked for.
    """

    restored: Tensor
    weights: dict[str, float]
    labels: Tensor | None

    @property
    def image(self) -> Image.Image:
        """The restored image, 8-bit RGB."""
        return to_8bit(self.restored)


class Abair:
    """A bundle, ready to restore.

    Args:
        bundle: The bundle.
        device: ``auto`` takes a GPU where there is one.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.

    Raises:
        BundleError: The bundle is damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tile_px: int = 1024,
        overlap_px: int = 64,
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            message = "no CUDA device here; expected --device cpu or auto"
            raise InputError(message)
        chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.bundle = bundle
        self.device = torch.device(chosen)
        self.tile_px = tile_px
        self.overlap_px = overlap_px
        self.restorer: BlendedBackbone = bundle.blended().to(self.device).eval()
        self._estimator: Estimator | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: Path | str | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tile_px: int = 1024,
        overlap_px: int = 64,
    ) -> Self:
        """Open a bundle.

        Args:
            path: The bundle's directory; the one that ships with the package if left out.
            device: As in the class.
            tile_px: As in the class.
            overlap_px: As in the class.

        Raises:
            BundleError: There is no bundle, or it is damaged.
        """
        return cls(Bundle.open(shipped_bundle() if path is None else path), device, tile_px, overlap_px)

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
    def weights(self, images: Tensor, blend: str = "soft") -> Tensor:
        """The weights of the adapters for each image.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
            blend: ``soft``, ``one_hot``, ``none`` for the plain backbone, or the name of an adapter.

        Returns:
            ``(B, K)``.

        Raises:
            InputError: The blend is neither a mode nor an adapter.
        """
        if blend not in self.blends:
            raise unknown_name(blend, "blend", self.blends)
        if blend == "none":
            return torch.zeros(len(images), len(self.names), device=self.device)
        if blend in BLEND_MODES:
            probabilities = self.estimator()(images.to(self.device)).softmax(dim=1)
            return blend_weights(probabilities, blend)
        return fixed_weights({blend: 1.0}, self.names, len(images)).to(self.device)

    @torch.inference_mode()
    def restore_tensor(self, images: Tensor, weights: Tensor) -> Tensor:
        """Restore one image in tiles, or a batch at once.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
            weights: ``(B, K)``.

        Returns:
            ``(B, 3, H, W)`` in [0, 1] on the CPU.
        """
        here = images.to(self.device, memory_format=torch.channels_last)
        restored = tiled(here, lambda tile: self.restorer(tile, weights), self.tile_px, self.overlap_px)
        return restored.clamp(0.0, 1.0).cpu()

    @torch.inference_mode()
    def restore(
        self,
        image: Image.Image | NDArray[np.uint8] | Tensor,
        blend: str = "soft",
        weights: Mapping[str, float] | None = None,
        with_labels: bool = True,
    ) -> Result:
        """Restore one image.

        Args:
            image: A PIL image, ``(H, W, 3)`` 8-bit RGB, or ``(3, H, W)`` float RGB in [0, 1].
            blend: ``soft``, ``one_hot``, ``none``, or the name of an adapter.
            weights: Weights by name instead; adapters that are not named get 0.
            with_labels: Also run the segmentation head.

        Raises:
            ImageError: The image has another shape, or is too small.
            InputError: There is no such blend or adapter.
        """
        pixels = _as_tensor(image)[None]
        if min(pixels.shape[2:]) < MIN_SIDE_PX:
            message = f"image of {pixels.shape[3]} x {pixels.shape[2]} pixels; expected at least {MIN_SIDE_PX} a side"
            raise ImageError(message)
        chosen = self.weights(pixels, blend) if weights is None else fixed_weights(weights, self.names, 1)
        chosen = chosen.to(self.device)
        restored = self.restore_tensor(pixels, chosen)[0]
        labels = None
        if with_labels:
            logits = tiled(pixels.to(self.device), self.restorer.segment, self.tile_px, self.overlap_px)
            labels = logits[0].argmax(dim=0).cpu()
        return Result(restored, dict(zip(self.names, chosen[0].tolist(), strict=True)), labels)


def _as_tensor(image: Image.Image | NDArray[np.uint8] | Tensor) -> Tensor:
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            message = f"array of shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB"
            raise ImageError(message)
        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255.0  # it may be read-only or flipped
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        message = f"tensor of shape {tuple(image.shape)} and type {image.dtype}; expected (3, H, W) float RGB in [0, 1]"
        raise ImageError(message)
    return image.float()


def make_folder(output: Path) -> None:
    """Make the folder for results, where there is none.

    Raises:
        InputError: There is a file of this name, or it may not be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{output} cannot be a folder of results ({error.strerror}); choose another --output"
        raise InputError(message) from error


def restore_files(
    input: list[Path],  # noqa: A002 - the option's name
    output: Path,
    bundle: Path | None = None,
    blend: str = "soft",
    weights: str | None = None,
    tile_px: int = 1024,
    overlap_px: int = 64,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    format: Literal["png", "jpg", "webp", "tiff"] = "png",  # noqa: A002 - the option's name
    json: bool = False,
) -> int:
    """Restore photographs.

    Size, alpha, ICC profile and EXIF are kept; the weights that the estimator chose are printed.

    Args:
        input: Files or folders.
        output: Folder for the results, each named as its input.
        bundle: The bundle; the one that ships with the package if left out.
        blend: soft, one_hot, none, or the name of an adapter.
        weights: Weights by name instead, such as rain=0.7,noise=0.3.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.
        device: auto takes a GPU where there is one.
        format: Format of the results.
        json: Print one JSON object a line on stdout.

    Raises:
        InputError: An option is wrong, or the bundle; what is wrong with one image is told, and the others restored.
    """
    fixed = None if weights is None else parse_weights(weights)
    paths = find_images(input)
    targets = [output / f"{path.stem}.{format}" for path in paths]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        message = f"several inputs would be written to {min(twice)}; give inputs of different stems"
        raise InputError(message)
    model = Abair.from_pretrained(bundle, device, tile_px, overlap_px)
    make_folder(output)
    failures: list[AbairError] = []
    bar = tqdm(list(zip(paths, targets, strict=True)), unit="image", disable=len(paths) == 1 or None)
    for path, target in bar:
        try:
            _restore_file(model, path, target, blend, fixed, json)
        except ImageError as error:
            failures.append(error)
            sys.stderr.write(f"abair-pl: error: {error}\n")
    return InputError.exit_status if failures else 0


def _restore_file(
    model: Abair, source: Path, target: Path, blend: str, weights: Mapping[str, float] | None, as_json: bool
) -> None:
    start = time.perf_counter()
    photograph = read_photograph(source)
    if source.resolve() == target.resolve():
        message = f"{source} would be overwritten by its own result; choose another --output"
        raise ImageError(message)
    try:
        result = model.restore(photograph.pixels, blend, weights, with_labels=False)
    except ImageError as error:
        message = f"{source}: {error}"
        raise ImageError(message) from error
    write_photograph(Photograph(result.restored, photograph.alpha, photograph.icc_profile, photograph.exif), target)
    seconds = time.perf_counter() - start
    shown = {name: round(weight, 4) for name, weight in result.weights.items()}
    if as_json:
        line = {"input": str(source), "output": str(target), "weights": shown, "seconds": round(seconds, 3)}
        print(json.dumps({**line, "megapixels": photograph.pixels[0].numel() / 1e6}), flush=True)
    else:
        ranked = sorted(shown.items(), key=lambda item: -item[1])
        print(f"{source} -> {target}  " + "  ".join(f"{name} {weight:.2f}" for name, weight in ranked), flush=True)
