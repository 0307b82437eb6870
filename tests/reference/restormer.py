"""Restormer (Zamir et al., CVPR 2022), as published for colour images."""

import torch
from tests.reference.blocks import BLOCKS, REFINEMENT, WIDTH, Down, Embedding, Up, conv, stack
from torch import Tensor, nn


class Restormer(nn.Module):
    """The network of figure 2, for sides that are multiples of 8.

    Args:
        centred: Norms with mean and bias; the checkpoints for denoising were trained without.
    """

    def __init__(self, centred: bool = True) -> None:
        super().__init__()
        one, two, three, four = (WIDTH * 2**level for level in range(4))
        self.patch_embed = Embedding()
        self.encoder_level1 = stack(1, one, BLOCKS[0], centred)
        self.down1_2 = Down(one)
        self.encoder_level2 = stack(2, two, BLOCKS[1], centred)
        self.down2_3 = Down(two)
        self.encoder_level3 = stack(3, three, BLOCKS[2], centred)
        self.down3_4 = Down(three)
        self.latent = stack(4, four, BLOCKS[3], centred)
        self.up4_3 = Up(four)
        self.reduce_chan_level3 = conv(2 * three, three, 1)
        self.decoder_level3 = stack(3, three, BLOCKS[2], centred)
        self.up3_2 = Up(three)
        self.reduce_chan_level2 = conv(2 * two, two, 1)
        self.decoder_level2 = stack(2, two, BLOCKS[1], centred)
        self.up2_1 = Up(two)
        self.decoder_level1 = stack(1, 2 * one, BLOCKS[0], centred)
        self.refinement = stack(1, 2 * one, REFINEMENT, centred)
        self.output = conv(2 * one, 3, 3)

    def forward(self, image: Tensor) -> Tensor:
        one = self.encoder_level1(self.patch_embed(image))
        two = self.encoder_level2(self.down1_2(one))
        three = self.encoder_level3(self.down2_3(two))
        x = self.latent(self.down3_4(three))
        x = self.reduce_chan_level3(torch.cat((self.up4_3(x), three), dim=1))
        x = self.decoder_level3(x)
        x = self.reduce_chan_level2(torch.cat((self.up3_2(x), two), dim=1))
        x = self.decoder_level2(x)
        x = self.decoder_level1(torch.cat((self.up2_1(x), one), dim=1))
        return self.output(self.refinement(x)) + image
