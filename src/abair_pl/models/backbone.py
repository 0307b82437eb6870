"""The backbone that the three phases share: a four-level U of restoration blocks with prompts in the decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from abair_pl.models.heads import SegmentationHead
from abair_pl.models.layers import Downsample, RestorationBlock, Upsample
from abair_pl.models.presets import BackboneConfig
from abair_pl.models.prompts import PromptBlock

_MAX_LOG_GAIN = 3.5
"""Bound of the gain's logarithm, far above what the darkest low light needs; unbounded, one bad step can blow it up."""


@dataclass(frozen=True)
class Encoding:
    """A padded image and what the encoder made of it.

    Attributes:
        image: ``(B, 3, H', W')``, the input, reflected to a multiple of the backbone's stride.
        features: One ``(B, C, h, w)`` for each level, finest first.
        size: ``(H, W)`` of the input.
    """

    image: Tensor
    features: tuple[Tensor, Tensor, Tensor, Tensor]
    size: tuple[int, int]


class Backbone(nn.Module):
    """Restores images, and labels the degradation of each pixel.

    Restormer's U-shape (MDTA and GDFN), optional spatial window attention beside the channel attention, PromptIR's
    prompt blocks in the decoder, a global residual, and a segmentation head on the encoder. Any image size is accepted:
    it is reflected to a multiple of the stride and cropped back.

    Args:
        architecture: The sizes of the network.
        labels: Number of labels of the segmentation head, clean among them.
    """

    def __init__(self, architecture: BackboneConfig, labels: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.labels = labels
        dims = architecture.dims
        channels = 3 * architecture.unshuffle**2

        def stack(dim: int, level: int, blocks: int) -> nn.Sequential:
            arguments = (architecture.heads[level], architecture.expansion, architecture.window_px)
            return nn.Sequential(*(RestorationBlock(dim, *arguments) for _ in range(blocks)))

        self.unshuffle = nn.PixelUnshuffle(architecture.unshuffle)
        self.shuffle = nn.PixelShuffle(architecture.unshuffle)
        self.patch_embed = nn.Conv2d(channels, dims[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(stack(dims[level], level, architecture.blocks[level]) for level in range(4))
        self.down = nn.ModuleList(Downsample(dims[level]) for level in range(3))
        # Decoder modules are listed finest first, as the encoder's. The finest level keeps both halves of its skip.
        widths = [dims[0] * 2, dims[1], dims[2]]
        above = [dims[1], dims[2], dims[3]]
        self.prompt = nn.ModuleList(
            PromptBlock(
                above[level],
                architecture.prompt_dims[level],
                architecture.prompts,
                architecture.prompt_sizes_px[level],
                architecture.prompt_heads[level],
                architecture.expansion,
                architecture.window_px,
            )
            for level in range(3)
        )
        self.up = nn.ModuleList(Upsample(dim) for dim in above)
        self.fuse = nn.ModuleList(
            nn.Conv2d(dims[level] * 2, widths[level], 1, bias=False) if level else nn.Identity() for level in range(3)
        )
        self.decoder = nn.ModuleList(stack(widths[level], level, architecture.blocks[level]) for level in range(3))
        self.refinement = stack(widths[0], 0, architecture.refinement_blocks)
        outputs = channels * 2 if architecture.gain else channels
        self.output = nn.Conv2d(widths[0], outputs, 3, padding=1, bias=False)
        nn.init.zeros_(self.output.weight)  # the untrained network is the identity
        self.segmentation_head = SegmentationHead(dims, architecture.head_dim, labels)
        for parameter in self.parameters():
            if parameter.ndim == 4:  # what the layers are written for
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def encode(self, image: Tensor) -> Encoding:
        """The encoder's features of ``(B, 3, H, W)`` RGB in [0, 1]."""
        padded = reflect_to_multiple(image, self.architecture.multiple_px)
        x = self.patch_embed(self.unshuffle(padded))
        features = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(self.down[level - 1](x) if level else x)
            features.append(x)
        finest, fine, coarse, coarsest = features
        size = (image.shape[2], image.shape[3])
        return Encoding(padded, (finest, fine, coarse, coarsest), size)

    def decode(self, encoding: Encoding) -> Tensor:
        """The restored image, ``(B, 3, H, W)`` around [0, 1]; not clamped, so that a loss sees the overshoot."""
        x = encoding.features[3]
        for level in (2, 1, 0):
            x = self.up[level](self.prompt[level](x))
            x = self.decoder[level](self.fuse[level](torch.cat((x, encoding.features[level]), dim=1)))
        output = self.output(self.refinement(x))
        image = encoding.image
        if self.architecture.gain:
            output, log_gain = output.chunk(2, dim=1)
            image = image * (_MAX_LOG_GAIN * (self.shuffle(log_gain) / _MAX_LOG_GAIN).tanh()).exp()
        height, width = encoding.size
        return (image + self.shuffle(output))[..., :height, :width]

    def segment(self, encoding: Encoding) -> Tensor:
        """Logits of the label of each pixel, ``(B, labels, H, W)``."""
        height, width = encoding.image.shape[2], encoding.image.shape[3]
        logits: Tensor = self.segmentation_head(encoding.features, (height, width))
        return logits[..., : encoding.size[0], : encoding.size[1]]

    def forward(self, degraded: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)`` RGB in [0, 1]."""
        return self.decode(self.encode(degraded))


def reflect_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend ``(B, C, H, W)`` to the right and below by reflection, to a multiple of a number of pixels.

    Unlike ``F.pad`` it also extends images that are smaller than what they lack, down to one pixel.
    """
    for dim in (2, 3):
        size = image.shape[dim]
        missing = -size % multiple
        if missing:
            # A triangle wave over 0 .. size - 1 that does not repeat the edge.
            ramp = torch.arange(size + missing, device=image.device) % max(2 * size - 2, 1)
            image = image.index_select(dim, torch.minimum(ramp, (2 * size - 2 - ramp).abs()))
    return image
