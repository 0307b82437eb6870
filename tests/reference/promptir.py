"""PromptIR (Potlapalli et al., NeurIPS 2023), as published, with prompts."""

import torch
import torch.nn.functional as F
from tests.reference.blocks import BLOCKS, HEADS, REFINEMENT, WIDTH, Block, Down, Embedding, Up, conv, stack
from torch import Tensor, nn


class Prompt(nn.Module):
    """The prompt generation module: eq. 3.

    Args:
        features: Channels of the features that choose among the five learned maps.
        channels: Channels of the maps.
        side: Their side in pixels.
    """

    def __init__(self, features: int, channels: int, side: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, 5, channels, side, side))
        self.linear_layer = nn.Linear(features, 5)
        self.conv3x3 = conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.linear_layer(x.mean(dim=(2, 3))).softmax(dim=1)
        mixed = (shares[..., None, None, None] * self.prompt_param).sum(dim=1)
        return self.conv3x3(F.interpolate(mixed, x.shape[2:], mode="bilinear"))


class PromptIR(nn.Module):
    """The network of figure 2, for sides that are multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four = (WIDTH * 2**level for level in range(4))
        self.patch_embed = Embedding()
        self.encoder_level1 = stack(1, one, BLOCKS[0])
        self.down1_2 = Down(one)
        self.encoder_level2 = stack(2, two, BLOCKS[1])
        self.down2_3 = Down(two)
        self.encoder_level3 = stack(3, three, BLOCKS[2])
        self.down3_4 = Down(three)
        self.latent = stack(4, four, BLOCKS[3])
        self.prompt3 = Prompt(four, 320, 16)
        self.noise_level3 = Block(four + 320, HEADS[2])
        self.reduce_noise_level3 = conv(four + 320, three, 1)
        self.up4_3 = Up(three)
        self.reduce_chan_level3 = conv(two + three, three, 1)
        self.decoder_level3 = stack(3, three, BLOCKS[2])
        self.prompt2 = Prompt(three, 128, 32)
        self.noise_level2 = Block(three + 128, HEADS[2])
        self.reduce_noise_level2 = conv(three + 128, three, 1)
        self.up3_2 = Up(three)
        self.reduce_chan_level2 = conv(2 * two, two, 1)
        self.decoder_level2 = stack(2, two, BLOCKS[1])
        self.prompt1 = Prompt(two, 64, 64)
        self.noise_level1 = Block(two + 64, HEADS[2])
        self.reduce_noise_level1 = conv(two + 64, two, 1)
        self.up2_1 = Up(two)
        self.decoder_level1 = stack(1, 2 * one, BLOCKS[0])
        self.refinement = stack(1, 2 * one, REFINEMENT)
        self.output = conv(2 * one, 3, 3)
        # In the checkpoints, though the published network never calls them.
        self.chnl_reduce1 = conv(64, 64, 1)
        self.chnl_reduce2 = conv(128, 128, 1)
        self.chnl_reduce3 = conv(320, 256, 1)
        self.reduce_noise_channel_1 = conv(one + 64, one, 1)
        self.reduce_noise_channel_2 = conv(two + 128, two, 1)
        self.reduce_noise_channel_3 = conv(three + 256, three, 1)

    def forward(self, image: Tensor) -> Tensor:
        one = self.encoder_level1(self.patch_embed(image))
        two = self.encoder_level2(self.down1_2(one))
        three = self.encoder_level3(self.down2_3(two))
        x = self.latent(self.down3_4(three))
        x = self.noise_level3(torch.cat((x, self.prompt3(x)), dim=1))
        x = self.up4_3(self.reduce_noise_level3(x))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat((x, three), dim=1)))
        x = self.noise_level2(torch.cat((x, self.prompt2(x)), dim=1))
        x = self.up3_2(self.reduce_noise_level2(x))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat((x, two), dim=1)))
        x = self.noise_level1(torch.cat((x, self.prompt1(x)), dim=1))
        x = self.up2_1(self.reduce_noise_level1(x))
        x = self.decoder_level1(torch.cat((x, one), dim=1))
        return self.output(self.refinement(x)) + image
