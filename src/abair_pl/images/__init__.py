"""Image files in and out: RGB float inside, everything else about the file kept."""

from abair_pl.images.finding import find_images, make_folder
from abair_pl.images.photograph import Photograph, to_8bit, to_pixels
from abair_pl.images.reading import read_photograph
from abair_pl.images.writing import encode_photograph, write_photograph

__all__ = [
    "Photograph",
    "encode_photograph",
    "find_images",
    "make_folder",
    "read_photograph",
    "to_8bit",
    "to_pixels",
    "write_photograph",
]
