"""Images among files and folders, and the folder for results."""

from pathlib import Path

from abair_pl.data.decode import IMAGE_SUFFIXES, is_depth_map, is_image_file
from abair_pl.errors import ImageError, InputError


def find_images(inputs: list[Path]) -> list[Path]:
    """The image files among files and folders, in order; ``x.depth.png`` in a folder is the depth of ``x``, no image.

    Raises:
        ImageError: An input does not exist, or a folder has no images.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if is_image_file(file) and not is_depth_map(file.name))
            if not inside:
                raise no_images_in(path)
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            message = f"no image at {path}; expected a file or a folder"
            raise ImageError(message)
    return found


def no_images_in(folder: Path) -> ImageError:
    """The error for a folder that has no images."""
    return ImageError(f"{folder} has no images; expected files named {', '.join(IMAGE_SUFFIXES)}")


def make_folder(output: Path) -> None:
    """Make the folder for results, where there is none.

    Raises:
        InputError: There is a file of this name, or it may not be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{output} cannot be a folder of results ({error.strerror}); choose another --output"
        raise InputError(message) from error
