"""Layers of falling particles: drops and flakes, each a disc drawn out along its way during the exposure."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Draws, Parameters, per_image, within
from abair_pl.degradations.random import uniform_field

MAX_LENGTH_PX = 64.0
"""Longest way of a particle."""

_ONE = 1 << 16  # of the fixed-point numbers below


def slopes(
    angle_deg: NDArray[np.float32], spread_deg: NDArray[np.float32] | float, draws: Draws, layers: int
) -> dict[str, NDArray[np.float32]]:
    """The parameters ``slope_<layer>``: each layer's direction of fall, as pixels to the right for each pixel down.

    Args:
        angle_deg: ``(B,)`` each sample's direction from the vertical.
        spread_deg: Largest deviation of a layer from it.
        draws: Among them ``spread/<layer>``.
        layers: How many there are.
    """
    deviations = [within((-1.0, 1.0), draws[f"spread/{layer}"]) for layer in range(layers)]
    return {
        f"slope_{layer}": np.tan(np.deg2rad(angle_deg + spread_deg * deviation))
        for layer, deviation in enumerate(deviations)
    }


def veiled(image: Tensor, opacity: Tensor, parameters: Parameters) -> Tensor:
    """Blend particles over an image: ``(1 - v) * (J * (1 - a) + b * a) + v * b``.

    Args:
        image: ``(B, 3, H, W)``, ``J``.
        opacity: ``(B, 1, H, W)`` in [0, 1], ``a``.
        parameters: ``brightness``, ``b``, and ``veil``, ``v``.
    """
    brightness, veil = per_image(parameters["brightness"]), per_image(parameters["veil"])
    return torch.lerp(image, brightness, 1.0 - (1.0 - opacity) * (1.0 - veil))


@dataclass(frozen=True)
class Layers:
    """Layers of particles, the tensors all ``(B, L)``.

    Attributes:
        per_kilopixel: Particles for each 1000 pixels.
        radius_px: Radius of the largest; sizes vary down to half of it.
        length_px: Longest way during the exposure, at most :data:`MAX_LENGTH_PX`; ways vary down to half of it.
        slope: Direction of fall: pixels to the right for each pixel down.
        most_per_kilopixel: No layer has more particles.
        largest_radius_px: No layer has larger ones.
    """

    per_kilopixel: Tensor
    radius_px: Tensor
    length_px: Tensor
    slope: Tensor
    most_per_kilopixel: float
    largest_radius_px: float


def draw_particles(seeds: Tensor, name: str, layers: Layers, size: tuple[int, int]) -> Tensor:
    """Draw layers.

    A particle is one column of marks: its opacity where it starts and the negative where it ends. Summed up from the
    top, all particles of a layer appear at once, whatever their length, and a shift of each row gives the slant. The
    sums are in fixed point, so that the order of additions, which a GPU leaves open, does not matter.

    Args:
        seeds: ``(B,)`` int64.
        name: The stream of random numbers.
        layers: What is drawn.
        size: ``(H, W)`` in pixels.

    Returns:
        Opacity ``(B, L, H, W)`` in [0, 1]. A layer is a torus from left to right.
    """
    height, width = size
    depth = layers.radius_px.shape[1]
    lead = math.ceil(MAX_LENGTH_PX + 2 * layers.largest_radius_px)
    rows = height + lead
    number, radius, way = (
        values[:, None, :, None] for values in (layers.per_kilopixel, layers.radius_px, layers.length_px)
    )
    on_host = seeds.device.type == "cpu"  # elsewhere to ask for the largest number would mean to wait for it
    most = float(number.max()) if on_host else layers.most_per_kilopixel
    count = math.ceil(most * 1e-3 * rows * width) + 1
    drawn = uniform_field(seeds, name, (count, 5, depth, 1))  # the last axis is for the columns that a disc touches
    across, down, length, scale, bright = drawn.movedim(2, 0).contiguous()
    index = torch.arange(count, device=seeds.device).view(-1, 1, 1)
    part = (bright * 256.0).frac()  # the last bits of a number decide whether a fraction of a particle is one
    opacity = (0.4 + 0.6 * bright) * (index + part < number * (1e-3 * rows * width))
    radius = radius * (0.5 + 0.5 * scale)
    reach_px = math.ceil(layers.largest_radius_px + 0.5)
    column = across * width
    columns = column.floor() + torch.arange(1 - reach_px, reach_px + 1, device=seeds.device)
    distance = columns - column
    total = ((radius + 0.5 - distance.abs()).clamp_(0.0, 1.0) * opacity).mul_(_ONE).round_()
    chord = (radius.square() - distance.square()).clamp_min_(0.0).sqrt_()
    start = down * rows - chord
    end = start + 2.0 * chord + way * (0.5 + 0.5 * length)
    layer = torch.arange(depth, device=seeds.device)[:, None] * width
    place = (columns.remainder_(width).long() + layer) * (rows + 2)
    canvas = torch.zeros(len(seeds), depth * width * (rows + 2), dtype=torch.int32, device=seeds.device)
    edge = torch.stack((start, end), dim=1).clamp_(0.0, float(rows))
    marks = torch.stack((total, -total), dim=1)
    whole = edge.floor()
    first = (marks * (1.0 - (edge - whole))).round_()  # the rest goes to the next row
    cell = (place[:, None] + whole.long()).flatten(1)
    canvas.scatter_add_(1, cell, first.flatten(1).to(torch.int32))
    canvas.scatter_add_(1, cell + 1, (marks - first).flatten(1).to(torch.int32))
    summed = canvas.view(-1, width, rows + 2).cumsum(dim=2, dtype=torch.int32)[:, :, lead : lead + height]
    opaque = _slanted(summed, layers.slope.flatten()).mul_(1.0 / _ONE).clamp_(0.0, 1.0)
    return opaque.view(-1, depth, width, height).transpose(2, 3)


def _slanted(columns: Tensor, slope: Tensor) -> Tensor:
    """Shift each row of ``(N, W, H)`` around the torus by its share of the slant."""
    width, height = columns.shape[1:]
    shift = -slope[:, None] * torch.arange(height, device=columns.device)
    whole = shift.floor()
    start = whole.long().remainder_(width)[:, None]
    around = torch.cat((columns, columns, columns[:, :1]), dim=1)
    taken = around.gather(1, torch.arange(width + 1, device=columns.device)[:, None] + start).to(torch.float32)
    return torch.lerp(taken[:, :-1], taken[:, 1:], (shift - whole)[:, None])
