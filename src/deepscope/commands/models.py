"""`deepscope models`: list models, their layers and their classes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.classification.agreement import check_predictions
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.models.anatomy import anatomy
from deepscope.models.describing import describe
from deepscope.models.listing import list_classes, list_models
from deepscope.models.saving import save_model
from deepscope.models.weights_file import FILE
from deepscope.presenters import agreement
from deepscope.presenters.models import present, present_classes, present_description, present_list
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class ModelsList(Command):
    """List models: parameters, input size, and where their weights are.

    Attributes:
        pattern: show only matching names, with * and ? ("timm:resnet*").
        all: include the architectures of timm, more than a thousand; a pattern that begins with "timm:" implies it.
        here: show only models whose weights are installed.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "list"
    example: ClassVar[str] = "deepscope models 'torchvision:resnet*'"

    pattern: str = "*"
    _: KW_ONLY
    all: bool = False
    here: bool = False

    def run(self, session: Session) -> Result:
        """Ask every source."""
        return present_list(list_models(self.pattern, all=self.all, here=self.here, session=session))


@dataclass(frozen=True)
class ModelsShow(Command):
    """Show the layers of a network. Weights are not needed where the name gives the architecture.

    Attributes:
        model: whatever other commands take as --model, or a bare architecture ("vgg16").
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "show"
    example: ClassVar[str] = "deepscope models show vgg16"

    model: str = DEFAULT

    def run(self, session: Session) -> Result:
        """Run the skeleton of the network once."""
        return present(anatomy(self.model, session=session))


@dataclass(frozen=True)
class ModelsDescribe(Command):
    """Describe a model before you use it: architecture, classes, preprocessing, input, and what it can do.

    It also says where the classes and the preprocessing come from: the file, the architecture, or you.

    Attributes:
        model: whatever other commands take as --model.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "describe"
    example: ClassVar[str] = "deepscope models describe efficientnet_lite0"

    model: str = DEFAULT

    def run(self, session: Session) -> Result:
        """Open the model."""
        return present_description(describe(self.model, session=session))


@dataclass(frozen=True)
class ModelsSave(Command):
    """Save a model as a folder that says what it is: architecture, classes and preprocessing beside the weights.

    Every command opens the folder, without --architecture or --classes. What is written is read back and must give the
    same scores.

    Attributes:
        model: any model whose architecture has a name of torchvision or timm.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "save"
    example: ClassVar[str] = "deepscope models save efficientnet_lite0 --out my-model"
    makes: ClassVar[tuple[str, ...]] = (FILE,)

    model: str

    def run(self, session: Session) -> Result:
        """Open, write and read back."""
        if session.out is None:
            raise SettingError("out", "must name the folder to write to")
        file = save_model(load_model(self.model, session), session.out)
        return present_description(describe(str(file), session=session))


@dataclass(frozen=True)
class ModelsCheck(Command):
    """Compare a model with the probabilities that its owner measured, and find what explains a difference.

    Tries swapped channels, pixels from 0 to 255, other means and deviations, squashing instead of cropping, other
    filters and no antialiasing, one at a time and in pairs.

    Attributes:
        model: the classifier.
        images: the folder of images.
        expected: a CSV file: a column "file", and either a column of probabilities per class or a column "class".
        limit: images to compare, at most.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "check"
    example: ClassVar[str] = "deepscope models check my-model --images photos/ --expected predictions.csv"

    model: str
    _: KW_ONLY
    images: Path
    expected: Path
    limit: Count = 16

    def run(self, session: Session) -> Result:
        """Run the model on the images, prepared in one way after another."""
        model = load_model(self.model, session)
        return agreement.present(
            check_predictions(model, self.images, self.expected, limit=self.limit, session=session)
        )


@dataclass(frozen=True)
class ModelsClasses(Command):
    """List the classes of a model, with their numbers.

    Attributes:
        model: the classifier.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "classes"
    example: ClassVar[str] = "deepscope models classes efficientnet_lite0"

    model: str = DEFAULT

    def run(self, session: Session) -> Result:
        """Open the model and read its categories."""
        return present_classes(list_classes(self.model, session=session))
