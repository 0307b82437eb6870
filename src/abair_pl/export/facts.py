"""What an exported file says about itself."""

from abair_pl import __version__
from abair_pl.bundle import Bundle
from abair_pl.card.figures import weights_digest
from abair_pl.export.restorer import ExportedRestorer


def export_facts(bundle: Bundle, restorer: ExportedRestorer, merged: str | None) -> dict[str, str]:
    """The facts by name, as texts; names of sizes are those of spandrel's model descriptors.

    Args:
        bundle: The bundle that is exported.
        restorer: Its restorer.
        merged: The mixture that is merged in.
    """
    return {
        "image": "float32, (batch, 3, height, width), RGB in [0, 1]",
        "restored": "float32, (batch, 3, height, width), RGB in [0, 1], clamped",
        "weights": ",".join(restorer.names),
        "merged": merged or "",
        "scale": "1",
        "input_channels": "3",
        "output_channels": "3",
        "minimum_px": str(restorer.minimum_px),
        "padding": f"inside, by reflection to a multiple of {restorer.multiple_px} px to the right and below",
        "multiple_px": str(restorer.multiple_px),
        "preset": bundle.config.preset,
        "bundle_sha256": weights_digest(bundle.config.values()),
        "abair_pl": __version__,
    }
