"""The seeds: small files of every kind that is read, made by code."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Exif
from torch import nn

from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator
from abair_pl.images.sixteen_bit import encode_png, write_tiff
from abair_pl.models.adapters import AdapterMethod, ConvLoRA, LoRA, VeRA, attach_adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import BackboneConfig

SIDE_PX = 24
ADAPTERS: dict[str, AdapterMethod] = {"rain": LoRA(rank=1), "haze": VeRA(rank=2), "noise": ConvLoRA(rank=1, experts=2)}
_TOY = BackboneConfig(
    dim=4,
    blocks=(1, 1, 1, 1),
    refinement_blocks=0,
    heads=(1, 1, 1, 1),
    expansion=1.0,
    window_px=4,
    unshuffle=8,
    gain=True,
    prompt_dims=(4, 4, 4),
    prompt_sizes_px=(2, 2, 2),
    prompts=2,
    head_dim=4,
    estimator_dim=4,
)
"""So small that a megapixel takes little time."""


def photographs() -> dict[str, bytes]:
    """Image files by name; each suffix has its mutators."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    planes = [y * 9, x * 9, (x + y) * 5]
    colour = Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))
    grey16 = Image.fromarray((x * 2000 + y).astype(np.uint16))
    palette, grey = colour.quantize(16), colour.convert("L")
    clear = colour.copy()
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[Exif.Orientation], exif[Exif.Software] = 6, "a camera"
    profile = bytes(16) + b"RGB " + bytes(108)
    files: dict[str, bytes] = {
        "colour.png": _saved(colour, "PNG", icc_profile=profile, exif=exif),
        "clear.png": _saved(clear, "PNG"),
        "grey16.png": _saved(grey16, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=0),
        "shade.png": _saved(grey, "PNG", transparency=90),
        "colour.jpg": _saved(colour, "JPEG", exif=exif, icc_profile=profile),
        "progressive.jpg": _saved(colour, "JPEG", progressive=True),
        "grey.jpg": _saved(grey, "JPEG", quality=30),
        "inks.jpg": _saved(colour.convert("CMYK"), "JPEG"),
        "colour.webp": _saved(colour, "WEBP", exif=exif),
        "clear.webp": _saved(clear, "WEBP", lossless=True),
        "moving.webp": _saved(colour, "WEBP", save_all=True, append_images=[clear.convert("RGB")]),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        image = colour.convert("1") if compression == "group4" else colour
        files[f"{compression}.tiff"] = _saved(image, "TIFF", compression=compression, exif=exif)
    files["grey16.tiff"] = _saved(grey16, "TIFF")
    deep = np.asarray(clear).astype(np.uint16) * 257
    files["clear16.png"] = encode_png(deep, None, exif.tobytes())
    files["clear16.tiff"] = _deep_tiff(deep, exif)
    files["float.tiff"] = _saved(Image.fromarray((x / SIDE_PX).astype(np.float32)), "TIFF")
    return files


def _deep_tiff(samples: NDArray[np.uint16], exif: Image.Exif) -> bytes:
    stream = io.BytesIO()
    write_tiff(stream, samples, None, exif.tobytes())
    return stream.getvalue()


def archives() -> dict[str, bytes]:
    """Shards by name: photographs, pairs with numbers and JSON, and a photograph with its depth."""
    images = photographs()
    depth = images["grey16.png"]
    members = {
        "000.jpg": images["colour.jpg"],
        "001.png": images["colour.png"],
        "002.input.webp": images["colour.webp"],
        "002.target.png": images["palette.png"],
        "002.json": b'{"sigma": 25.0, "kind": ["gaussian"]}',
        "002.cls": b"3",
        "003.tiff": images["tiff_lzw.tiff"],
        "003.depth.png": depth,
    }
    kinds = {"gnu.tar": tarfile.GNU_FORMAT, "pax.tar": tarfile.PAX_FORMAT, "ustar.tar": tarfile.USTAR_FORMAT}
    return {name: _archive(members, kind) for name, kind in kinds.items()}


def make_bundle(path: Path) -> Bundle:
    """A complete bundle of toy size with an adapter of each method."""
    torch.manual_seed(0)
    backbone = Backbone(_TOY, len(ADAPTERS) + 1)
    _move(backbone)
    save_backbone(path, backbone, "toy", list(ADAPTERS), {"steps": 1})
    bundle = Bundle.open(path)
    for name, method in ADAPTERS.items():
        model = attach_adapter(bundle.backbone(), name, method, bundle.config.backbone_sha256)
        _move(model)
        bundle = save_adapter(path, bundle, name, model, method, {"steps": 2})
    return save_estimator(path, bundle, Estimator(_TOY.estimator_dim, len(ADAPTERS) + 1), {"steps": 3})


def _move(module: nn.Module) -> None:
    """Move the trained parameters off their initial values."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.02)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _archive(members: dict[str, bytes], kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 0.5 if kind == tarfile.PAX_FORMAT else 0
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
