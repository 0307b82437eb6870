"""Random numbers as a pure function of (seed, stream, index).

A counter-based generator instead of a stateful one: the numbers of a sample depend on its own seed
only, never on its neighbours in the batch or on what was drawn before, and a whole batch is drawn in
a few vector operations on any device. The mixer is *lowbias32* of C. Wellons' hash prospector
(https://github.com/skeeto/hash-prospector), in 32-bit arithmetic that wraps around.
"""

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

SEED_LIMIT = 2**53  # exclusive; every seed is an exact JSON number

_GOLDEN = 0x9E3779B9
_MULTIPLIER_1 = 0x7FEB352D
_MULTIPLIER_2 = 0x846CA68B


def stream_id(name: str) -> int:
    """A 32-bit number for a stream's name, equal on all machines and in all processes."""
    return zlib.crc32(name.encode())


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(_MULTIPLIER_1)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(_MULTIPLIER_2)
    return bits ^ (bits >> np.uint32(16))


def _states(seeds: NDArray[np.int64], streams: NDArray[np.uint32]) -> NDArray[np.uint32]:
    low = (seeds & 0xFFFFFFFF).astype(np.uint32)
    high = (seeds >> 32).astype(np.uint32)
    return _mix(_mix(low + np.uint32(_GOLDEN)) ^ _mix(high + streams))


def unit_draws(seeds: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.float32]:
    """One uniform number in [0, 1) for each seed and name, on the host.

    Args:
        seeds: ``(B,)``, each in [0, 2**53).
        names: Streams; equal names give equal numbers.

    Returns:
        ``(B, len(names))``.
    """
    streams = np.array([stream_id(name) for name in names], dtype=np.uint32)
    bits = _mix(_states(seeds[:, None], streams[None, :]))
    return ((bits >> np.uint32(8)) * np.float32(2**-24)).astype(np.float32)


def child_seeds(seeds: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Seeds that are derived from others, ``(B,)`` each in [0, 2**53)."""
    streams = np.array([stream_id(f"{name}/low"), stream_id(f"{name}/high")], dtype=np.uint32)
    bits = _states(seeds[:, None], streams[None, :]).astype(np.int64)
    return (bits[:, 0] | (bits[:, 1] << 32)) % SEED_LIMIT


def combine(*numbers: int) -> int:
    """One seed in [0, 2**53) out of several numbers such as (seed, epoch, rank, worker)."""
    seed = np.zeros(1, dtype=np.int64)
    for number in numbers:
        seed = child_seeds(seed ^ (np.int64(number) % SEED_LIMIT), "combine")
    return int(seed[0])


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value


def _mix_(bits: Tensor) -> Tensor:
    """:func:`_mix` in place on int32, whose right shift is arithmetic and needs a mask."""
    bits ^= (bits >> 16) & 0xFFFF
    bits *= _MULTIPLIER_1
    bits ^= (bits >> 15) & 0x1FFFF
    bits *= _signed(_MULTIPLIER_2)
    bits ^= (bits >> 16) & 0xFFFF
    return bits


def uniform_field(seeds: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) for each sample.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53); its device is the device of the result.
        name: The stream; two names give independent numbers.
        shape: The shape of one sample's field.

    Returns:
        ``(B, *shape)`` float32.
    """
    low = (seeds & 0xFFFFFFFF).to(torch.int32)
    high = (seeds >> 32).to(torch.int32)
    stream = torch.full_like(high, _signed(stream_id(name)))
    state = _mix_(_mix_(low + _signed(_GOLDEN)) ^ _mix_(high + stream))
    count = math.prod(shape)
    index = torch.arange(count, device=seeds.device, dtype=torch.int32) * _signed(_GOLDEN)
    bits = _mix_(state[:, None] + index[None, :])
    return ((bits >> 8) & 0xFFFFFF).to(torch.float32).mul_(2**-24).view(-1, *shape)


def normal_field(seeds: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers for each sample, by the Box-Muller transform.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53).
        name: The stream.
        shape: The shape of one sample's field.

    Returns:
        ``(B, *shape)`` float32.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    unit = uniform_field(seeds, name, (2, half))
    radius = unit[:, 0].neg_().log1p_().mul_(-2.0).sqrt_()
    angle = unit[:, 1].mul_(2.0 * math.pi)
    pairs = torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)
    return pairs[:, :count].reshape(-1, *shape)


def smooth_field(seeds: Tensor, name: str, size: tuple[int, int], octaves: int = 3) -> Tensor:
    """Fractal value noise in [0, 1]: octaves of random grids, interpolated and halved in strength.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53).
        name: The stream.
        size: ``(H, W)`` in pixels.
        octaves: How many grids are added; the coarsest has 3 x 3 knots, each next one twice as many cells.

    Returns:
        ``(B, 1, H, W)`` float32.
    """
    total = torch.zeros(len(seeds), 1, *size, device=seeds.device)
    norm = 0.0
    for octave in range(octaves):
        knots = 2 ** (octave + 1) + 1
        grid = uniform_field(seeds, f"{name}/{octave}", (1, knots, knots))
        weight = 0.5**octave
        total += weight * interpolate(grid, size, mode="bicubic", align_corners=True)
        norm += weight
    return (total / norm).clamp_(0.0, 1.0)
