"""Random numbers as a pure function of (seed, stream, index).

A counter-based generator instead of a stateful one: the numbers of a sample depend on its own seed
only, never on its neighbours in the batch or on what was drawn before, and a whole batch is drawn in
a few vector operations on any device. Seed and stream are mixed by *splitmix64* (Steele, Lea & Flood, OOPSLA 2014),
the index by *lowbias32* of C. Wellons' hash prospector (https://github.com/skeeto/hash-prospector), all in arithmetic
that wraps around.
"""

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

SEED_LIMIT = 2**53  # exclusive; every seed is an exact JSON number

_GOLDEN = 0x9E3779B97F4A7C15
_SPLIT_1 = 0xBF58476D1CE4E5B9
_SPLIT_2 = 0x94D049BB133111EB
_STEP = 0x9E3779B9
_LOW_1 = 0x7FEB352D
_LOW_2 = 0x846CA68B


def stream_id(name: str) -> int:
    """A 32-bit number for a stream's name, equal on all machines and in all processes."""
    return zlib.crc32(name.encode())


def _split(seeds: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.uint64]:
    """64 random bits for each seed and name, ``(B, len(names))``."""
    bits = seeds.astype(np.uint64)[:, None] + _streams(tuple(names))
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_SPLIT_1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_SPLIT_2)
    return bits ^ (bits >> np.uint64(31))


@lru_cache(maxsize=1024)
def _streams(names: tuple[str, ...]) -> NDArray[np.uint64]:
    return np.array([stream_id(name) + 1 for name in names], dtype=np.uint64) * np.uint64(_GOLDEN)


def unit_draws(seeds: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.float32]:
    """One uniform number in [0, 1) for each seed and name, on the host.

    Args:
        seeds: ``(B,)``, each in [0, 2**53).
        names: Streams; equal names give equal numbers.

    Returns:
        ``(B, len(names))``.
    """
    return ((_split(seeds, names) >> np.uint64(40)) * np.float32(2**-24)).astype(np.float32)


def child_seeds(seeds: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Seeds that are derived from others, ``(B,)`` each in [0, 2**53)."""
    return (_split(seeds, [name])[:, 0] % np.uint64(SEED_LIMIT)).astype(np.int64)


def combine(*numbers: int) -> int:
    """One seed in [0, 2**53) out of several numbers such as (seed, epoch, rank, worker)."""
    seed = np.zeros(1, dtype=np.int64)
    for number in numbers:
        seed = child_seeds(seed ^ (np.int64(number) % SEED_LIMIT), "combine")
    return int(seed[0])


def _signed(value: int, bits: int) -> int:
    """The number that an unsigned one stands for in two's complement."""
    return value - 2**bits if value >= 2 ** (bits - 1) else value


def _xor_shifted_(bits: Tensor, shift: int, width: int) -> Tensor:
    """``bits ^= bits >> shift`` of unsigned numbers: the right shift is arithmetic and needs a mask."""
    bits ^= (bits >> shift).bitwise_and_(2 ** (width - shift) - 1)
    return bits


def _hashed(seeds: Tensor, name: str, count: int) -> Tensor:
    """``(B, count)`` int32 of random bits for each sample; the same on all devices."""
    if seeds.device.type == "cpu":
        return _hashed_on_host(seeds, name, count)
    state = seeds + _signed((stream_id(name) + 1) * _GOLDEN % 2**64, 64)
    state = _xor_shifted_(state, 30, 64).mul_(_signed(_SPLIT_1, 64))
    state = _xor_shifted_(state, 27, 64).mul_(_signed(_SPLIT_2, 64))
    state = _xor_shifted_(state, 31, 64).to(torch.int32)
    index = torch.arange(count, device=seeds.device, dtype=torch.int32) * _signed(_STEP, 32)
    bits = _xor_shifted_(state[:, None] + index, 16, 32).mul_(_LOW_1)
    bits = _xor_shifted_(bits, 15, 32).mul_(_signed(_LOW_2, 32))
    return _xor_shifted_(bits, 16, 32)


def _hashed_on_host(seeds: Tensor, name: str, count: int) -> Tensor:
    """The same by NumPy, whose unsigned numbers need no masks and whose calls cost less."""
    state = _split(seeds.numpy(), [name]).astype(np.uint32)
    bits = state + _steps(count)
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(_LOW_1)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(_LOW_2)
    bits ^= bits >> np.uint32(16)
    return torch.from_numpy(bits.view(np.int32))


@lru_cache(maxsize=32)
def _steps(count: int) -> NDArray[np.uint32]:
    """The index of each number, spread over 32 bits."""
    return np.arange(count, dtype=np.uint32) * np.uint32(_STEP)


def uniform_field(seeds: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) for each sample, multiples of 2**-24.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53); its device is the device of the result.
        name: The stream; two names give independent numbers.
        shape: The shape of one sample's field.

    Returns:
        ``(B, *shape)`` float32.
    """
    bits = _hashed(seeds, name, math.prod(shape))
    return (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2**-24).view(-1, *shape)


def normal_field(seeds: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers for each sample, out of a table of 65,536 quantiles: none is beyond 4.33 in magnitude.

    Two numbers come of one hash. No function is evaluated, so that the numbers are the same on all devices.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53).
        name: The stream.
        shape: The shape of one sample's field.

    Returns:
        ``(B, *shape)`` float32.
    """
    count = math.prod(shape)
    bits = _hashed(seeds, name, (count + 1) // 2)
    if seeds.device.type == "cpu":
        drawn = torch.from_numpy(_quantiles().numpy().take(bits.numpy().view(np.uint16), mode="wrap"))
    else:
        index = bits.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
        drawn = _quantiles(seeds.device)[index]
    return drawn[:, :count].reshape(-1, *shape)


@lru_cache(maxsize=8)
def _quantiles(device: torch.device = torch.device("cpu")) -> Tensor:  # noqa: B008 - a constant
    """The middles of 65,536 equally likely classes of the normal distribution, scaled to a variance of 1."""
    middles = torch.special.ndtri((torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16)
    return (middles / middles.square().mean().sqrt()).to(device, torch.float32)


def smooth_field(seeds: Tensor, name: str, size: tuple[int, int], octaves: int = 3, fields: int = 1) -> Tensor:
    """Fractal value noise in [0, 1]: octaves of random grids, interpolated and halved in strength.

    Args:
        seeds: ``(B,)`` int64, each in [0, 2**53).
        name: The stream.
        size: ``(H, W)`` in pixels.
        octaves: How many grids are added; the coarsest has 3 x 3 knots, each next one twice as many cells.
        fields: How many independent fields.

    Returns:
        ``(B, fields, H, W)`` float32.
    """
    knots, inside = _grids(octaves, seeds.device)
    values = uniform_field(seeds, name, (fields, len(inside)))
    grid = values.new_zeros(len(seeds), fields, knots * knots)
    grid[:, :, inside] = values
    rows, columns = (_cubic(side, octaves, seeds.device) for side in size)
    total = rows @ grid.view(-1, knots, knots) @ columns.T
    return total.clamp_(0.0, 1.0).view(-1, fields, *size)


@lru_cache(maxsize=8)
def _grids(octaves: int, device: torch.device) -> tuple[int, Tensor]:
    """The side of a square that holds the grids of all octaves along its diagonal, and their places in it."""
    knots = [2 ** (octave + 1) + 1 for octave in range(octaves)]
    square = torch.block_diag(*(torch.ones(count, count) for count in knots))
    return len(square), square.flatten().nonzero()[:, 0].to(device)


@lru_cache(maxsize=256)
def _cubic(side: int, octaves: int, device: torch.device) -> Tensor:
    """Bicubic interpolation of all octaves as one matrix ``(side, knots)``, far faster than the filter itself."""
    parts = []
    for octave in range(octaves):
        unit = torch.eye(2 ** (octave + 1) + 1)[:, None, :, None]
        part = interpolate(unit, (side, 1), mode="bicubic", align_corners=True)[:, 0, :, 0].T
        parts.append(part * math.sqrt(0.5**octave / (2.0 - 2.0 ** (1 - octaves))))  # the root: rows times columns
    return torch.cat(parts, dim=1).to(device)
