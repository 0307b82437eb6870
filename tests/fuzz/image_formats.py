"""Mutations of image files that keep so much of the format that readers go on."""

import struct
import zlib
from random import Random

from tests.fuzz.mutate import Mutator, flip_bits, odd_number, set_bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR = ">IIBBBBB"
_TIFF_ENTRY_BYTES = 12
_SOF = (0xC0, 0xC1, 0xC2)

Chunks = list[tuple[bytes, bytes]]


def png_chunks(data: bytes) -> Chunks:
    """Kinds and contents, as far as they can be read."""
    chunks, at = [], len(_SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def png_of(chunks: Chunks) -> bytes:
    """A PNG of chunks, with their right checksums."""
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return _SIGNATURE + b"".join(parts)


def png_header(data: bytes, random: Random) -> bytes:
    """A size, a depth, a kind of colour or a method is another."""
    chunks = png_chunks(data)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != struct.calcsize(_IHDR):
        return data
    fields = list(struct.unpack(_IHDR, chunks[0][1]))
    index = random.randrange(len(fields))
    fields[index] = odd_number(random, 32) if index < 2 else random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return png_of([(b"IHDR", struct.pack(_IHDR, *fields)), *chunks[1:]])


def png_chunk(data: bytes, random: Random) -> bytes:
    """A chunk is changed, gone, doubled, moved, or another kind; checksums are right."""
    chunks = png_chunks(data)
    if not chunks:
        return data
    index = random.randrange(len(chunks))
    kind, body = chunks.pop(index)
    kinds = (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"gAMA", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
    made: list[Chunks] = [[(kind, flip_bits(body, random))], [], [(kind, body)] * 2, [(random.choice(kinds), body)]]
    at = random.randrange(len(chunks) + 1) if random.random() < 0.3 else index
    chunks[at:at] = random.choice([*made, made[0]])
    return png_of(chunks)


def png_pixels(data: bytes, random: Random) -> bytes:
    """The packed rows are changed inside: filters and values, more or fewer of them."""
    chunks = png_chunks(data)
    try:
        rows = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    except zlib.error:
        return data
    rows = random.choice((flip_bits(rows, random), rows[: random.randrange(len(rows) + 1)], rows * 3))
    others = [(kind, body) for kind, body in chunks if kind not in (b"IDAT", b"IEND")]
    return png_of([*others, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def jpeg_segment(data: bytes, random: Random) -> bytes:
    """A segment's contents or length is another; of the frame's header most often, where the size is."""
    places = _jpeg_segments(data)
    frames = [place for place in places if place[0] in _SOF]
    if not places:
        return data
    _, at, size = random.choice(frames if frames and random.random() < 0.5 else places)
    if random.random() < 0.15:
        return data[:at] + odd_number(random, 16).to_bytes(2, "big") + data[at + 2 :]
    body = random.choice((flip_bits, set_bytes))(data[at + 2 : at + size], random)
    return data[: at + 2] + body + data[at + size :]


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, place of the length, and length of the segments before the scan."""
    places, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, (size,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        places.append((marker, at + 2, size))
        if marker == 0xDA:
            break
        at += 2 + size
    return places


def tiff_tag(data: bytes, random: Random) -> bytes:
    """An entry of the first directory has another tag, type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 16 or struct.unpack_from(order + "H", data, 2) != (42,):
        return data
    (directory,) = struct.unpack_from(order + "I", data, 4)
    if directory + 2 > len(data):
        return data
    (count,) = struct.unpack_from(order + "H", data, directory)
    at = directory + 2 + _TIFF_ENTRY_BYTES * random.randrange(max(count, 1))
    offset, kind = random.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "H")))
    if at + _TIFF_ENTRY_BYTES > len(data):
        return data
    changed = bytearray(data)
    struct.pack_into(order + kind, changed, at + offset, odd_number(random, 16 if kind == "H" else 32))
    return bytes(changed)


def webp_chunk(data: bytes, random: Random) -> bytes:
    """A size, or a byte of a chunk's header or first fields, is another."""
    if len(data) < 40:
        return data
    at = random.choice((4, 16, 20, 21, 23, 24, 26, 28, 30))
    width = random.choice((1, 2, 3, 4))
    return data[:at] + odd_number(random, 8 * width).to_bytes(width, "little") + data[at + width :]


AWARE: dict[str, tuple[Mutator, ...]] = {
    "png": (png_header, png_chunk, png_pixels),
    "jpg": (jpeg_segment,),
    "tiff": (tiff_tag,),
    "webp": (webp_chunk,),
}
"""Mutators by the suffix of a seed."""
