"""What a file tells of its photograph beside the pixels."""

from PIL import Image
from PIL.ExifTags import Base as Exif

_EXIF_KEPT = {  # what tells of the photograph; other tags, such as a TIFF's, tell how the file stores its pixels
    Exif.ImageDescription,
    Exif.Make,
    Exif.Model,
    Exif.XResolution,
    Exif.YResolution,
    Exif.ResolutionUnit,
    Exif.Software,
    Exif.DateTime,
    Exif.Artist,
    Exif.HostComputer,
    Exif.Rating,
    Exif.Copyright,
    Exif.ExifOffset,
    Exif.GPSInfo,
    Exif.XPTitle,
    Exif.XPComment,
    Exif.XPAuthor,
    Exif.XPKeywords,
    Exif.XPSubject,
}
_SPACE_BYTES = slice(16, 20)


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block with what tells of the photograph, without the orientation; None where there is none."""
    try:
        exif = image.getexif()
        exif.bigtiff = False  # the block's own form, whatever the file's
        for tag in exif.keys() - _EXIF_KEPT:
            del exif[tag]
        return exif.tobytes() if exif else None
    except Exception:  # PIL's errors at a damaged block are of a dozen kinds
        return None


def profile_for(profile: bytes | None, grey: bool) -> bytes | None:
    """A colour profile, unless it is for other colours than those there are, grey or RGB."""
    fits = profile is not None and profile[_SPACE_BYTES] == (b"GRAY" if grey else b"RGB ")
    return profile if fits else None
