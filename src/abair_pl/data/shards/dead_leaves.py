"""Dead-leaves images: occluding shapes whose sizes follow a power law, as objects in photographs do.

Scale-invariant statistics of natural images from nothing but a random generator (Lee, Mumford & Huang, *Occlusion
Models for Natural Images*, IJCV 2001): radii of density ``r ** -3`` between a smallest and a largest, drawn one over
the other until the plane is covered. Discs and polygons are textured and shaded here, so that networks see gradients
and grain too.
"""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abair_pl.errors import ShardError

_SEED_LIMIT = 2**53  # as of all seeds here
_SUPERSAMPLING = 2
_COVERAGE = 4.0  # summed area of the shapes over the area of the image


def check_seed(seed: int) -> None:
    """Refuse what is no seed.

    Raises:
        ShardError: It is not in [0, 2**53).
    """
    if not 0 <= seed < _SEED_LIMIT:
        message = f"seed is {seed}; expected at least 0 and less than 2**53"
        raise ShardError(message)


def draw_dead_leaves(
    seed: int, size_px: tuple[int, int] = (256, 256), radii_px: tuple[float, float] = (4.0, 160.0)
) -> NDArray[np.uint8]:
    """Draw one image; the same seed always draws the same.

    Args:
        seed: Any non-negative number.
        size_px: Height and width.
        radii_px: Smallest and largest radius of a shape.

    Returns:
        ``(H, W, 3)`` 8-bit RGB.
    """
    generator = np.random.default_rng(seed)
    height, width = (side * _SUPERSAMPLING for side in size_px)
    low, high = (radius * _SUPERSAMPLING for radius in radii_px)
    texture = _textures(generator, height, width)
    palette = _palette(generator)
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = palette[0]
    covered = 0.0
    while covered < _COVERAGE * height * width:
        radius = (low**-2 - generator.random() * (low**-2 - high**-2)) ** -0.5  # inverse of the cumulative r ** -3
        center = generator.random(2) * (width, height)
        covered += np.pi * radius**2
        color = np.clip(palette[generator.integers(len(palette))] + generator.normal(0.0, 0.04, 3), 0.0, 1.0)
        _draw_leaf(canvas, _outline(generator, center, radius), color, texture, generator)
    image = cv2.resize(canvas, (size_px[1], size_px[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(np.round(np.clip(image, 0.0, 1.0) * 255.0), dtype=np.uint8)


def encode_dead_leaves(kind: str, seed: int) -> tuple[str, bytes]:
    """Draw one image to the bytes of a file of a kind such as ``png``, called ``leaves-<seed>.<kind>``."""
    buffer = io.BytesIO()
    Image.fromarray(draw_dead_leaves(seed)).save(buffer, kind)
    return f"leaves-{seed:06d}.{kind}", buffer.getvalue()


def _palette(generator: np.random.Generator) -> NDArray[np.float64]:
    """Three to eight colours, ``(N, 3)`` in [0, 1], as muted on the whole as those of photographs."""
    count = int(generator.integers(3, 9))
    brightness = generator.beta(1.0, 1.2, size=(count, 1))
    chroma = generator.normal(0.0, generator.uniform(0.03, 0.25), size=(count, 3))
    return np.clip(brightness + chroma - chroma.mean(axis=1, keepdims=True), 0.02, 0.98)


def _outline(generator: np.random.Generator, center: NDArray[np.float64], radius: float) -> NDArray[np.int32]:
    """A disc, an ellipse or a polygon as the corners of a polygon, ``(N, 2)`` in pixels."""
    corners = 40 if generator.random() < 0.5 else int(generator.integers(3, 8))
    angles = np.sort(generator.random(corners)) if corners < 40 else np.linspace(0.0, 1.0, corners, endpoint=False)
    circle = np.stack([np.cos(2 * np.pi * angles), np.sin(2 * np.pi * angles)], axis=1)
    circle[:, 1] *= generator.uniform(0.3, 1.0)
    turn = generator.uniform(0.0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(np.round(center + radius * circle @ rotation), dtype=np.int32)


def _textures(generator: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Fractal noise and a grating, ``(2, H, W)`` around 0, that leaves cut their grain from."""
    fractal = np.zeros((height, width), dtype=np.float32)
    for octave in range(1, 8):
        grid = generator.normal(0.0, 1.0, (2**octave + 1, 2**octave + 1)).astype(np.float32)
        fractal += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.75**octave
    y, x = np.mgrid[:height, :width].astype(np.float32)
    direction, period = generator.uniform(0.0, np.pi), generator.uniform(6.0, 40.0)
    grating = np.sin(2 * np.pi / period * (x * np.cos(direction) + y * np.sin(direction)) + fractal)
    return np.stack([fractal / (np.std(fractal) + 1e-6), grating]).astype(np.float32)


def _draw_leaf(
    canvas: NDArray[np.float32],
    outline: NDArray[np.int32],
    color: NDArray[np.float64],
    texture: NDArray[np.float32],
    generator: np.random.Generator,
) -> None:
    """Paint one shape over the canvas, with a shading across it and a texture in it."""
    grain = generator.uniform(0.0, 0.08, 2)
    slope = generator.normal(0.0, 0.15, 2)
    left, top = np.maximum(outline.min(axis=0), 0)
    right, bottom = np.minimum(outline.max(axis=0) + 1, canvas.shape[1::-1])
    if left >= right or top >= bottom:
        return
    mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
    cv2.fillPoly(mask, [outline - np.array([left, top], dtype=np.int32)], 1)
    rows = np.linspace(-1.0, 1.0, bottom - top, dtype=np.float32)[:, None]
    columns = np.linspace(-1.0, 1.0, right - left, dtype=np.float32)[None, :]
    light = 1.0 + slope[0] * rows + slope[1] * columns
    light += np.tensordot(grain, texture[:, top:bottom, left:right], axes=1)
    inside = mask.astype(bool)
    canvas[top:bottom, left:right][inside] = light[inside][:, None] * color
