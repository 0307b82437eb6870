"""Ways to compare images, each with a name that goes into every result.

=============================================  ======================================================
``rgb``, ``y``                                 colour, or luma; SSIM with the Gaussian window
``rgb_uniform7``, ``y_uniform7``               the same, SSIM with scikit-image's uniform window
``y:border=4``                                 without the outermost 4 pixels on each side
``rgb_uniform7:rounding=none``                 results as they are, not as an 8-bit file holds them
``y:rounding=luma``                            luma rounded once more, as MATLAB does of 8-bit images
``y:border=4,rounding=luma``                   several settings
=============================================  ======================================================
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from abair_pl.errors import ImageError, InputError, unknown_name
from abair_pl.metrics import GAUSSIAN_11, UNIFORM_7, psnr, ssim

# ITU-R BT.601 luma in studio range, as MATLAB's rgb2ycbcr computes it.
_LUMA = (65.481 / 255.0, 128.553 / 255.0, 24.966 / 255.0)
_LUMA_OFFSET = 16.0 / 255.0
_TIE = 1e-9  # luma halfway between two levels is rounded up, whatever the last digit of its sum

_RGB, _Y = "RGB", "BT.601 luma"
_WINDOWS = {window.name: window for window in (GAUSSIAN_11, UNIFORM_7)}
_NAMES = {
    (_RGB, GAUSSIAN_11.name): "rgb",
    (_Y, GAUSSIAN_11.name): "y",
    (_RGB, UNIFORM_7.name): "rgb_uniform7",
    (_Y, UNIFORM_7.name): "y_uniform7",
}
_ROUNDINGS = {"8bit": "8 bit", "luma": "8 bit RGB and luma", "none": "none"}
_SETTINGS = ("border", "rounding")


@dataclass(frozen=True)
class Protocol:
    """A way to compare images.

    Both images are clamped to [0, 1]; SSIM is averaged only where its window lies inside the image; PSNR and SSIM are
    taken for each image and then averaged.

    Attributes:
        name: All that the other attributes say, in the grammar of :func:`named_protocol`: protocols that give different
            numbers have different names.
        channel: What is compared, ``RGB`` or ``BT.601 luma`` in studio range.
        ssim_window: The window of SSIM.
        rounding: ``8 bit`` rounds both images, ``8 bit RGB and luma`` their luma too, ``none`` does nothing.
        border_px: How much is cut off on each side before anything is measured.
        average: Over images.
        version: Raised whenever the same images would give other numbers.

    Raises:
        InputError: There is no such channel, window or rounding, or the border is negative.
    """

    name: str = field(init=False)
    channel: str
    ssim_window: str = GAUSSIAN_11.name
    rounding: str = _ROUNDINGS["8bit"]
    border_px: int = 0
    average: str = field(default="mean of per-image values", init=False)
    version: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if self.channel not in (_RGB, _Y):
            raise unknown_name(self.channel, "channel", (_RGB, _Y))
        if self.ssim_window not in _WINDOWS:
            raise unknown_name(self.ssim_window, "window of SSIM", _WINDOWS)
        if self.rounding not in _ROUNDINGS.values():
            raise unknown_name(self.rounding, "rounding", _ROUNDINGS.values())
        if self.border_px < 0:
            message = f"border is {self.border_px} px; expected at least 0"
            raise InputError(message)
        base = _NAMES[self.channel, self.ssim_window]
        if self.channel == _RGB and self.rounding == _ROUNDINGS["luma"]:
            message = f"protocol {base} has no luma to round; expected y or y_uniform7, or rounding=8bit or none"
            raise InputError(message)
        rounding = next(key for key, value in _ROUNDINGS.items() if value == self.rounding)
        changed = [f"border={self.border_px}"] * (self.border_px > 0) + [f"rounding={rounding}"] * (rounding != "8bit")
        object.__setattr__(self, "name", base + ":" * bool(changed) + ",".join(changed))

    def measure(self, restored: Tensor, target: Tensor) -> tuple[float, float]:
        """PSNR in dB and SSIM of one pair.

        Args:
            restored: ``(3, H, W)`` RGB, clamped here.
            target: ``(3, H, W)`` RGB, clamped here.

        Raises:
            ImageError: The sizes differ, or less than the window of SSIM is left inside the border.
        """
        if restored.shape != target.shape:
            message = f"sizes are {tuple(restored.shape[1:])} and {tuple(target.shape[1:])}; expected the same"
            raise ImageError(message)
        window = _WINDOWS[self.ssim_window]
        least_px = window.side_px + 2 * self.border_px
        if min(target.shape[1:]) < least_px:
            message = f"image of {target.shape[2]} x {target.shape[1]} pixels; SSIM needs {least_px} a side"
            raise ImageError(message)
        found, expected = self._prepare(restored)[None], self._prepare(target)[None]
        return psnr(found, expected).item(), ssim(found, expected, window).item()

    def _prepare(self, image: Tensor) -> Tensor:
        rows, columns = (slice(self.border_px, side - self.border_px) for side in image.shape[1:])
        prepared = image[:, rows, columns].double().clamp(0.0, 1.0)
        if self.rounding != _ROUNDINGS["none"]:
            prepared = _rounded(prepared)
        if self.channel == _Y:
            prepared = luma(prepared)
        if self.rounding == _ROUNDINGS["luma"]:
            prepared = _rounded(prepared + _TIE)
        return prepared


PROTOCOLS = {name: Protocol(*kind) for kind, name in _NAMES.items()}


def named_protocol(text: str) -> Protocol:
    """A protocol by its description: a name, with settings behind a colon.

    ``border`` is a number of pixels; ``rounding`` is 8bit, luma or none.

    Raises:
        InputError: The name, a setting or a value is not known; the error says which are.

    Examples:
        >>> named_protocol("y:border=4").border_px
        4
        >>> named_protocol("rgb:rounding=8bit").name
        'rgb'
    """
    name, colon, given = text.partition(":")
    if name not in PROTOCOLS:
        raise unknown_name(name, "protocol", PROTOCOLS)
    pairs = [setting.partition("=")[::2] for setting in given.split(",")] if colon else []
    settings = dict(pairs)
    if len(settings) < len(pairs):
        message = f"'{text}' gives a setting twice; expected each once"
        raise InputError(message)
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "border":
            changes["border_px"] = _pixels(value, text)
        elif key == "rounding":
            if value not in _ROUNDINGS:
                raise unknown_name(value, f"rounding of protocol {name}", _ROUNDINGS)
            changes["rounding"] = _ROUNDINGS[value]
        else:
            raise unknown_name(key, f"setting of protocol {name}", _SETTINGS)
    return replace(PROTOCOLS[name], **changes)


def luma(image: Tensor) -> Tensor:
    """BT.601 luma of ``(3, H, W)`` RGB in [0, 1], as ``(1, H, W)`` in [16/255, 235/255]."""
    weights = torch.tensor(_LUMA, dtype=image.dtype, device=image.device).view(3, 1, 1)
    return (image * weights).sum(dim=0, keepdim=True) + _LUMA_OFFSET


def _pixels(value: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", value):
        message = f"border is '{value}' in '{text}'; expected a whole number of pixels, such as border=4"
        raise InputError(message)
    return int(value)


def _rounded(image: Tensor) -> Tensor:
    """To the nearest of 256 levels."""
    return (image * 255.0).round() / 255.0
