from __future__ import annotations

import math

import torch

from deepscope.gans import GAN, Architecture, Generator, Labelled, Pictures
from deepscope.gans.watching import watching
from deepscope.session import Session


def test_the_diversity_of_copies_has_no_unit() -> None:
    architecture = Architecture(side=16, latent=4, width=2)
    gan = GAN(Generator(architecture, 1, 0).eval(), architecture, channels=1, classes=(), data="copies")
    same = Labelled(torch.full((8, 1, 16, 16), 90, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
    figures = watching(Pictures("copies", (), same, same), None, False, Session(quiet=True))(gan)
    assert list(figures) == ["diversity"] and math.isnan(figures["diversity"])
