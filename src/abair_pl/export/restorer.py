"""What is exported: restoring images of any size, as one graph."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.bundle import Bundle
from abair_pl.models.adapters import merge_adapters
from abair_pl.models.adapters.experts import ConvExperts
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.weights import fixed_weights, parse_weights


class ExportedRestorer(nn.Module):
    """Restores images in steps that are the same for all sizes.

    It pads by reflection to a multiple of the backbone's stride, cuts the result back and clamps it: what
    :meth:`abair_pl.restore.Abair.restore_tensor` does with an image that fits into a tile.

    Args:
        restorer: The backbone with adapters, whose weights become an input; or a backbone alone. It is frozen, and must
            not be used elsewhere.
    """

    def __init__(self, restorer: BlendedBackbone | Backbone) -> None:
        super().__init__()
        self.restorer = restorer.requires_grad_(False).eval()
        for layer in restorer.modules():
            if isinstance(layer, ConvExperts):
                layer.dense = True

    @property
    def names(self) -> list[str]:
        """The adapters, in the order of the weights; none where weights are no input."""
        return self.restorer.names if isinstance(self.restorer, BlendedBackbone) else []

    @property
    def backbone(self) -> Backbone:
        """The backbone, with or without adapters."""
        return self.restorer.backbone if isinstance(self.restorer, BlendedBackbone) else self.restorer

    @property
    def multiple_px(self) -> int:
        """Images are padded to a multiple of this."""
        return self.backbone.architecture.multiple_px

    @property
    def minimum_px(self) -> int:
        """The smallest side: there must be enough to reflect, and more than one pixel at the coarsest level."""
        return self.multiple_px + 1

    def forward(self, image: Tensor, weights: Tensor | None = None) -> Tensor:
        """Restore images.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1].
            weights: ``(B, K)``, one for each adapter; left out where there is none.

        Returns:
            ``(B, 3, H, W)`` in [0, 1].
        """
        height, width = image.shape[2:]
        below, beside = (_rounded_up(side, self.multiple_px) - side for side in (height, width))
        padded = F.pad(image, (0, beside, 0, below), mode="reflect")
        if isinstance(self.restorer, BlendedBackbone):
            restored = self.restorer.at_once(padded, weights)
        else:
            restored = self.restorer(padded)
        # A slice would be a view, which has other strides where nothing is cut off; a graph is for one kind of them.
        for dim, side in ((2, height), (3, width)):
            restored = restored.index_select(dim, torch.arange(side, device=image.device))
        return restored.clamp(0.0, 1.0)


def exported_restorer(bundle: Bundle, weights: str | None) -> ExportedRestorer:
    """A bundle's restorer; where it has no adapters, or their mixture is given, a backbone alone.

    Args:
        bundle: The bundle.
        weights: The mixture to merge into the backbone, such as ``rain=0.7,haze=0.3``.

    Raises:
        InputError: The weights have another form, name no adapter, or name a Conv-LoRA.
        BundleError: The bundle is damaged.
    """
    if weights is None:
        return ExportedRestorer(bundle.blended() if bundle.config.adapters else bundle.backbone())
    mixture = parse_weights(weights)
    fixed_weights(mixture, list(bundle.config.adapters), 1)  # for its checks
    backbone = bundle.backbone()
    merge_adapters(backbone, bundle.adapters(list(mixture)), mixture)
    return ExportedRestorer(backbone)


def _rounded_up(side: int, multiple: int) -> int:
    return (side + multiple - 1) // multiple * multiple
