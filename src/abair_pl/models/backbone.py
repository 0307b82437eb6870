"""The backbone that the three phases share: a four-level U of restoration blocks with prompts in the decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from abair_pl.errors import InputError
from abair_pl.models.heads import SegmentationHead
from abair_pl.models.layers import Downsample, RestorationBlock, Upsample
from abair_pl.models.presets import BackboneConfig
from abair_pl.models.prompts import PromptBlock
from abair_pl.models.tone import ToneHead
from abair_pl.models.whole_image import PoolingLayer, WholeImage

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
    prompt blocks in the decoder, a global residual on the image in its new tone, and a segmentation head on the
    encoder. Any image size is accepted: it is reflected to a multiple of the stride and cropped back.

    Moved by a multiple of the stride, content is restored the same but for three things: convolutions see zeros beyond
    the border of the image, prompts are tied to places in it, and window attention, where there is one, needs
    multiples of :attr:`window_stride_px`.

    Args:
        architecture: The sizes of the network.
        labels: Number of labels of the segmentation head, clean among them.

    Attributes:
        checkpointing: Of encoder, decoder and refinement, keep only what enters each block for the backward pass and
            compute the rest again: a third more time, a fraction of the memory.
    """

    def __init__(self, architecture: BackboneConfig, labels: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.labels = labels
        self.checkpointing = False
        dims, prompts = architecture.dims, architecture.prompts
        channels = 3 * architecture.unshuffle**2

        def stack(dim: int, level: int, blocks: int) -> nn.ModuleList:
            arguments = (architecture.heads[level], architecture.expansion, architecture.window_px)
            return nn.ModuleList(RestorationBlock(dim, *arguments, architecture.centred_norm) for _ in range(blocks))

        self.unshuffle = nn.PixelUnshuffle(architecture.unshuffle)
        self.shuffle = nn.PixelShuffle(architecture.unshuffle)
        self.patch_embed = nn.Conv2d(channels, dims[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(stack(dims[level], level, architecture.blocks[level]) for level in range(4))
        self.down = nn.ModuleList(Downsample(dims[level]) for level in range(3))
        # Decoder modules are listed finest first, as the encoder's. The finest level keeps both halves of its skip, and
        # the prompt block of the coarsest narrows it, as PromptIR has it.
        widths = [dims[0] * 2, dims[1], dims[2]]
        above = [dims[1], dims[2], dims[2] if prompts else dims[3]]
        self.prompt = nn.ModuleList(
            PromptBlock(architecture, level, dims[level + 1], above[level]) if prompts else nn.Identity()
            for level in range(3)
        )
        self.up = nn.ModuleList(Upsample(dim) for dim in above)
        self.fuse = nn.ModuleList(
            nn.Conv2d(above[level] // 2 + dims[level], widths[level], 1, bias=False) if level else nn.Identity()
            for level in range(3)
        )
        self.decoder = nn.ModuleList(stack(widths[level], level, architecture.blocks[level]) for level in range(3))
        self.refinement = stack(widths[0], 0, architecture.refinement_blocks)
        outputs = channels * 2 if architecture.gain else channels
        self.output = nn.Conv2d(widths[0], outputs, 3, padding=1, bias=False)
        nn.init.zeros_(self.output.weight)  # the untrained network is the identity
        self.tone_head = ToneHead(architecture.tone_dim, architecture.multiple_px) if architecture.tone_dim else None
        self.segmentation_head = (
            SegmentationHead(dims, architecture.head_dim, architecture.head_blocks, labels)
            if architecture.head_dim
            else None
        )
        for parameter in self.parameters():
            if parameter.ndim == 4:  # what the layers are written for
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @property
    def window_stride_px(self) -> int:
        """Tiles that start at multiples of this have the windows of the whole image."""
        return self.architecture.multiple_px * max(self.architecture.window_px, 1)

    def encode(self, image: Tensor) -> Encoding:
        """The encoder's features of ``(B, 3, H, W)`` RGB in [0, 1]."""
        padded = reflect_to_multiple(image, self.architecture.multiple_px)
        x = self.patch_embed(self.unshuffle(padded))
        features = []
        for level, blocks in enumerate(self.encoder):
            x = self._through(blocks, self.down[level - 1](x) if level else x)
            features.append(x)
        finest, fine, coarse, coarsest = features
        size = (image.shape[2], image.shape[3])
        return Encoding(padded, (finest, fine, coarse, coarsest), size)

    def decode(self, encoding: Encoding) -> Tensor:
        """The restored image, ``(B, 3, H, W)`` around [0, 1]; not clamped, so that a loss sees the overshoot."""
        x = encoding.features[3]
        for level in (2, 1, 0):
            x = self.up[level](self.prompt[level](x))
            x = self.fuse[level](torch.cat((x, encoding.features[level]), dim=1))
            x = self._through(self.decoder[level], x)
        output = self.output(self._through(self.refinement, x))
        image = encoding.image if self.tone_head is None else self.tone_head(encoding.image)
        if self.architecture.gain:
            output, log_gain = output.chunk(2, dim=1)
            image = image * (_MAX_LOG_GAIN * (self.shuffle(log_gain) / _MAX_LOG_GAIN).tanh()).exp()
        height, width = encoding.size
        return (image + self.shuffle(output))[..., :height, :width]

    def segment(self, encoding: Encoding) -> Tensor:
        """Logits of the label of each pixel, ``(B, labels, H, W)``.

        Raises:
            InputError: The architecture has no segmentation head.
        """
        if self.segmentation_head is None:
            message = "this backbone has no segmentation head; expected a preset with one: tiny, small or paper"
            raise InputError(message)
        height, width = encoding.image.shape[2], encoding.image.shape[3]
        logits: Tensor = self.segmentation_head(encoding.features, (height, width))
        return logits[..., : encoding.size[0], : encoding.size[1]]

    def forward(self, degraded: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)`` RGB in [0, 1]."""
        return self.decode(self.encode(degraded))

    def share(self, whole: WholeImage | None) -> None:
        """Let all inputs be parts of one image, until this is called with None."""
        for layer in self.modules():
            if isinstance(layer, PoolingLayer):
                layer.whole = whole

    def _through(self, blocks: nn.Module, x: Tensor) -> Tensor:
        for block in blocks.children():
            again = self.checkpointing and torch.is_grad_enabled()
            x = checkpoint(block, x, use_reentrant=False) if again else block(x)
        return x


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
