"""Draws the pictures of the documentation and runs the notebooks: ``python docs/make_figures.py``, ``make figures``."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from nbclient import NotebookClient
from PIL import Image
from torch import Tensor
from traitlets.config import Config

from abair_pl import Abair
from abair_pl.data.shards.sample import HELD_OUT_PHOTOGRAPHS, load_photograph
from abair_pl.degradations import PAPER_FIVE, Composite, Synthesizer, parse_degradation, resolve_degradations
from abair_pl.evaluation.figures import captioned_grid, centered
from abair_pl.evaluation.gallery import composite_sheet, cutmix_sheet, every_operator, severity_sheet
from abair_pl.images import to_8bit
from abair_pl.metrics import psnr

FOLDER = Path(__file__).parent
SIZE_PX = (480, 320)
PHOTOGRAPHS = {
    "rain": "chelsea",
    "haze": "astronaut",
    "noise": "chelsea",
    "blur": "coffee",
    "low_light": "coffee",
    "snow": "chelsea",
    "jpeg": "astronaut",
    "bit_depth": "hubble_deep_field",
}
COMPOSITES = {
    "blur:radius=3+noise:sigma=25": "coffee",
    "blur:kind=motion+jpeg:quality=15": "astronaut",
    "haze+snow": "chelsea",
}
CUTMIX = ("astronaut", "coffee", "chelsea", "astronaut", "coffee", "chelsea")
CUTMIX_PX = (448, 296)
RESTORED = ("noise:sigma=35", "rain:severity=0.7", "haze:severity=0.7", "low_light:severity=0.6", "snow:severity=0.7")
RESTORED_PX = 280


def photograph(name: str) -> Tensor:
    """The middle of one of scikit-image's photographs, ``(3, 320, 480)`` in [0, 1], or ``(3, 300, 451)``."""
    pixels = torch.from_numpy(load_photograph(name).copy()).permute(2, 0, 1) / 255.0
    top, left = (max((side - most) // 2, 0) for side, most in zip(pixels.shape[1:], SIZE_PX[::-1], strict=True))
    return pixels[:, top : top + SIZE_PX[1], left : left + SIZE_PX[0]]


def restored_sheet() -> Image.Image:
    """Photographs that were not trained on, degraded above and restored by the weights that ship below."""
    model, above, below = Abair.from_pretrained(), [], []
    for index, text in enumerate(RESTORED):
        clean = photograph(HELD_OUT_PHOTOGRAPHS[index % len(HELD_OUT_PHOTOGRAPHS)])
        degradation = parse_degradation(text)
        synthesizer = Synthesizer.only(degradation)
        degraded = synthesizer(clean[None], synthesizer.plan(torch.tensor([index]))).degraded[0]
        result = model.restore(degraded)
        for row, caption, image in (
            (above, degradation.name.replace("_", " "), degraded),
            (below, "restored", result.restored),
        ):
            measured = float(psnr(image[None], clean[None]))
            row.append((f"{caption}  {measured:.1f} dB", to_8bit(centered(image, (RESTORED_PX, RESTORED_PX)))))
    return captioned_grid([above, below], (RESTORED_PX, RESTORED_PX))


def save(sheet: Image.Image, name: str, quality: int = 72) -> None:
    """Write a figure into this folder."""
    path = FOLDER / name
    sheet.save(path, quality=quality, optimize=True, progressive=True)
    print(f"{path.name}: {sheet.width} x {sheet.height} px, {path.stat().st_size / 1000:.0f} kB")


def run(notebook: Path) -> None:
    """Run a notebook and store its outputs, without anything that differs from machine to machine."""
    content = nbformat.read(notebook, as_version=4)
    metadata = content.metadata.copy()
    config = Config(KernelManager={"transport_encryption": "auto"})
    with TemporaryDirectory() as folder:  # for what the notebook writes
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            content,
            kernel_name="python3",
            record_timing=False,
            resources=resources,
            coalesce_streams=True,
            config=config,
        )
        client.execute()
    content.metadata = metadata
    for cell in content.cells:
        if cell.cell_type == "code":  # on stderr, libraries say what they think of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(content, notebook)
    print(f"{notebook.name}: {notebook.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Make all of them."""
    rows = [(operator, photograph(PHOTOGRAPHS[operator.name])) for operator in every_operator()]
    save(severity_sheet(rows), "degradations.jpg")
    composites = [(parse_degradation(text), photograph(name)) for text, name in COMPOSITES.items()]
    save(
        composite_sheet([(made, image) for made, image in composites if isinstance(made, Composite)]), "composites.jpg"
    )
    synthesizer = Synthesizer(resolve_degradations(PAPER_FIVE), cutmix_probability=1.0, cutmix_regions=(3, 4))
    photographs = torch.stack([centered(photograph(name), CUTMIX_PX) for name in CUTMIX])
    save(cutmix_sheet(synthesizer, photographs, torch.arange(len(CUTMIX))), "cutmix.jpg")
    save(restored_sheet(), "restored.jpg")
    for notebook in sorted((FOLDER.parent / "notebooks").glob("*.ipynb")):
        run(notebook)


if __name__ == "__main__":
    main()
