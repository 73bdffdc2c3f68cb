"""`deepscope transfer table`: which layer of which network gives the best features."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from deepscope.command import Command
from deepscope.models.classifier import NormalisationKind
from deepscope.presenters.transfer_table import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, ProperShare, Range, Side
from deepscope.transfer.compare import DEFAULT_FEATURES, compare_features
from deepscope.transfer.greyscale import Grey
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferTable(Command):
    """Compare layers and networks as features for a linear classifier on your own classes.

    Each row's regularisation is chosen by cross-validation on the training images; the marked row is the one
    that cross-validation prefers. Accuracy is on the test images, with its 95 % interval, and also without those
    that are copies of training images. p compares a row with the marked one on the same test images,
    adjusted for all rows (Holm).

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several. Without
            any, the layers of the report's Table 1.1 and the last layers of the available networks.
        normalisations: normalisation of the features.
        heads: linear-svc, logistic-regression, ridge or nearest-neighbours.
        splits: 1 uses the split of the data; more draw that many stratified splits of the same proportion.
        test_fraction: share of test images where the data has no split.
        size: side of the networks' input in pixels; by default each network's.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        grey: how grey images are fed to a colour network: replicate copies them into its three channels; fold and
            average reduce its first convolution to one channel, with the sum or the mean of the weights.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "table"
    example: ClassVar[str] = "deepscope transfer table 15scene"

    data: str
    _: KW_ONLY
    features: tuple[str, ...] = DEFAULT_FEATURES
    normalisations: tuple[NormalisationKind, ...] = ("raw", "l2")
    heads: tuple[str, ...] = ("linear-svc",)
    splits: Count = 1
    test_fraction: ProperShare = 0.3
    size: Side | None = None
    flip: bool = False
    scales: tuple[Annotated[float, Range(most=16, above=True)], ...] = (1.0,)
    grey: Grey = "replicate"

    def run(self, session: Session) -> Result:
        """Extract, fit, compare."""
        views = {"size": self.size, "flip": self.flip, "scales": self.scales}
        return present(
            compare_features(
                self.data,
                [
                    Recipe.parse(text, normalisation=kind, **views)
                    for text in self.features
                    for kind in self.normalisations
                ],
                heads=self.heads,
                grey=self.grey,
                holdout=Holdout(self.splits, self.test_fraction),
                session=session,
            )
        )
