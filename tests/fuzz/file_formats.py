"""Mutations of archives, JSON and safetensors that keep so much of the format that readers go on."""

import json
from random import Random
from typing import Any

from tests.fuzz.mutate import flip_bits, odd_number, set_bytes

_BLOCK_BYTES = 512
_FIELDS = {
    "name": (0, 100),
    "size": (124, 12),
    "type": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "prefix": (345, 155),
}
_NAMES = (
    "../x.png",
    "/etc/x.png",
    "a.png",
    "x",
    "x/../../y.jpg",
    "\x1b[31m.png",
    "a.pkl",
    "a.json",
    "b.cls",
    ".png",
    "é.png",
)
_TYPES = b"0123456LKxgSD7\0"
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X")
_DEEP = 200


def tar_header(data: bytes, random: Random) -> bytes:
    """A field of a header is another, with the right checksum."""
    headers = [at for at in range(0, len(data) - _BLOCK_BYTES, _BLOCK_BYTES) if data[at + 257 : at + 262] == b"ustar"]
    if not headers:
        return data
    at = random.choice(headers)
    header = bytearray(data[at : at + _BLOCK_BYTES])
    field = random.choice(list(_FIELDS))
    start, width = _FIELDS[field]
    if field == "size":
        value = b"%011o\0" % (odd_number(random, 33))
    elif field == "type":
        value = bytes([random.choice(_TYPES)])
    elif field == "magic":
        value = random.choice((b"ustar\x0000", b"ustar  \0", bytes(8)))
    else:
        value = random.choice(_NAMES).encode()
    header[start : start + width] = value[:width].ljust(width, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + _BLOCK_BYTES :]


def tar_block(data: bytes, random: Random) -> bytes:
    """Whole blocks are gone, doubled or exchanged."""
    blocks = [data[at : at + _BLOCK_BYTES] for at in range(0, len(data), _BLOCK_BYTES)]
    first, second = (random.randrange(len(blocks) + 1) for _ in range(2))
    low, high = min(first, second), max(first, second)
    moved = random.choice((blocks[:low] + blocks[high:], blocks[:high] + blocks[low:], blocks[high:] + blocks[:high]))
    return b"".join(moved)


def json_value(data: bytes, random: Random) -> bytes:
    """A value is of another type or size, gone, or under another name."""
    try:
        value = json.loads(data)
        _change(value, random)
        return json.dumps(value, indent=random.choice((None, 2))).encode(errors="replace")
    except (ValueError, RecursionError, OverflowError):
        return data


def _change(value: Any, random: Random) -> None:
    places = list(_places(value))
    if not places:
        return
    owner, key = random.choice(places)
    kind = random.random()
    if kind < 0.1:
        del owner[key]
    elif kind < 0.2 and isinstance(owner, dict):
        owner[_odd_text(random)] = owner[key]
    elif kind < 0.5 and isinstance(owner[key], int | float):
        owner[key] = random.choice(
            (owner[key] + 1, -owner[key], owner[key] * 1000, float(owner[key]), odd_number(random))
        )
    else:
        owner[key] = _odd_value(random)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each value inside, as its owner and its key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def _odd_value(random: Random) -> Any:
    deep: Any = 0
    for _ in range(_DEEP):
        deep = [deep]
    numbers = (0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**400)
    plain: tuple[Any, ...] = (None, True, False, [], {}, [1], {"a": 1}, deep)
    return random.choice((*numbers, *plain, odd_number(random, 64), _odd_text(random), [_odd_text(random)] * 100))


def _odd_text(random: Random) -> str:
    texts = (
        "",
        "../x",
        "/etc/passwd",
        "a" * 10_000,
        "os.system",
        "rain",
        "none",
        "a\nb",
        "\x1b[31m",
        "\ud800",
        "é",
        "lora",
    )
    return random.choice(texts)


def tensors_header(data: bytes, random: Random) -> bytes:
    """Shapes, types, offsets or names in the header of safetensors are others; or the length of the header lies."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        entries = [entry for entry in header.values() if isinstance(entry, dict) and "shape" in entry]
        kind, entry = random.randrange(6), random.choice(entries)
        if kind == 0:
            entry["shape"] = random.choice(
                ([], [0], [*entry["shape"], 1], [odd_number(random, 63)], entry["shape"][::-1])
            )
        elif kind == 1:
            entry["dtype"] = random.choice(_DTYPES)
        elif kind == 2:
            entry["data_offsets"] = random.choice(([0, 4], [odd_number(random, 63)] * 2, entry["data_offsets"][::-1]))
        elif kind == 3:
            return odd_number(random, 64).to_bytes(8, "little") + data[8:]
        else:
            _change(header, random)
    except (ValueError, RecursionError, OverflowError, LookupError, TypeError, AttributeError):
        return data
    text = json.dumps(header).encode(errors="replace")
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def tensors_values(data: bytes, random: Random) -> bytes:
    """Numbers behind the header of safetensors are others."""
    start = 8 + int.from_bytes(data[:8], "little")
    return data[:start] + random.choice((flip_bits, set_bytes))(data[start:], random)
