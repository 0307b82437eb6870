"""Mutations of bytes, whatever they are."""

from collections.abc import Callable
from random import Random

ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 4095, 14_000, 16_383, 32_767, 32_768, 65_535, 65_536, 1 << 20)
HUGE_NUMBERS = (2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_MAX_BLOCK_BYTES = 64
_AT_ONCE = (1, 1, 2, 4)

Mutator = Callable[[bytes, Random], bytes]


def odd_number(random: Random, bits: int = 32) -> int:
    """A number at an edge, or any of so many bits."""
    kind = random.random()
    if kind < 0.6:
        return random.choice(ODD_NUMBERS) & (2**bits - 1)
    return random.choice(HUGE_NUMBERS) & (2**bits - 1) if kind < 0.8 else random.getrandbits(bits)


def flip_bits(data: bytes, random: Random) -> bytes:
    """Some bits are turned over."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, random: Random) -> bytes:
    """Up to eight neighbouring bytes become a number at an edge."""
    width = random.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    at = random.randrange(len(data) - width + 1)
    number = odd_number(random, 8 * width).to_bytes(width, random.choice(("little", "big")))
    return data[:at] + number + data[at + width :]


def cut(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: random.randrange(len(data) + 1)]


def remove_block(data: bytes, random: Random) -> bytes:
    """A block is missing."""
    start, end = _block(data, random)
    return data[:start] + data[end:]


def repeat_block(data: bytes, random: Random) -> bytes:
    """A block is there several times."""
    start, end = _block(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 16)) + data[end:]


def insert_noise(data: bytes, random: Random) -> bytes:
    """Random bytes are in between."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randrange(1, _MAX_BLOCK_BYTES)) + data[at:]


PLAIN: tuple[Mutator, ...] = (flip_bits, flip_bits, set_bytes, set_bytes, cut, remove_block, repeat_block, insert_noise)


def mutated(data: bytes, random: Random, aware: tuple[Mutator, ...] = ()) -> bytes:
    """A few mutations one after the other, half of them by what is known of the format."""
    for _ in range(random.choice(_AT_ONCE)):
        mutators = aware if aware and random.random() < 0.6 else PLAIN
        data = random.choice(mutators)(data, random)
    return data


def _block(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    longest = min(len(data) - start, random.choice((_MAX_BLOCK_BYTES, len(data))))
    return start, start + random.randint(0, longest)
