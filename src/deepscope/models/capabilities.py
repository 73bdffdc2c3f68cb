"""What a model can be asked for, what a method needs, and the one place where the two are matched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from deepscope.errors import SettingError, UnsupportedError
from deepscope.registry import Registered, import_public

if TYPE_CHECKING:
    from deepscope.models.vision_model import VisionModel

Need = Literal["probabilities", "gradients", "activations", "rgb"]
Needs = frozenset[Need]

SCORES: Needs = frozenset({"probabilities"})
"""Of a method that only queries the model."""
GRADIENTS: Needs = frozenset({"probabilities", "gradients"})
LAYERS: Needs = frozenset({"activations"})
"""Of what reads or changes layers, with or without a class layer behind them."""
GRADIENTS_OF_LAYERS: Needs = frozenset({"gradients", "activations"})

RGB: Needs = frozenset({"rgb"})
"""Of what makes or changes pictures: images of other channels are no pictures."""

NOT_DIFFERENTIABLE = "its output does not depend differentiably on the pixels"
"""The reason where a model has no gradients although PyTorch runs it."""

_WORDS: dict[Need, str] = {
    "rgb": "RGB or grey images",
    "probabilities": "a class layer",
    "gradients": "gradients",
    "activations": "layers",
}
_SUGGESTED = 2
Run = TypeVar("Run", bound=Callable[..., Any])


@dataclass(frozen=True)
class Capabilities:
    """What a model can be asked for.

    Attributes:
        gradients: of its scores, with respect to pixels.
        activations: outputs of its layers, which can also be changed.
        probabilities: of classes; False where it has features only.
        input_size: height and width, where it takes no others; None where it takes any, or that is not known.
        channels: of its input: 3, 1 for grey images, which are made from RGB, or those of stacks of channels.
        reason: why something is missing, in words.
    """

    gradients: bool = True
    activations: bool = True
    probabilities: bool = True
    input_size: tuple[int, int] | None = None
    channels: int = 3
    reason: str = ""

    @property
    def rgb(self) -> bool:
        """Whether images are pictures, in RGB or grey."""
        return self.channels in (1, 3)

    def missing(self, needs: Needs) -> tuple[Need, ...]:
        """Those of the needs that the model does not meet."""
        return tuple(need for need in _WORDS if need in needs and not getattr(self, need))


class UsesModel:
    """Base of the families whose methods ask a model for something."""

    name: ClassVar[str]
    needs: ClassVar[Needs] = GRADIENTS
    """What a model must be able to do for the method to run."""
    all_need: ClassVar[Needs] = frozenset()
    """What every method of the family needs besides."""
    verb: ClassVar[str] = ""  # of a family: the function and command that runs its methods
    common: ClassVar[bool] = False
    """Whether the method is a usual first choice, which a refusal suggests before the others."""

    def require(self, model: VisionModel) -> None:
        """Raises UnsupportedError where the model lacks what the method needs, ModelError where that is classes."""
        family = next((base for base in UsesModel.__subclasses__() if isinstance(self, base)), None)
        require(model, self.name, self.needs | self.all_need, family=family)


def require(model: VisionModel, what: str, needs: Needs, *, family: type[UsesModel] | None = None) -> None:
    """Compare what a model can do with what is needed.

    Args:
        model: any model.
        what: is about to run, as the message calls it.
        needs: of it.
        family: whose methods are suggested first.

    Raises:
        SettingError: it is no such model.
        ModelError: it needs classes, and the model has features only.
        UnsupportedError: something else is missing; the message names two methods of the family that work on the
            model, its usual first choices if they do; without a family, one of each.
    """
    if not isinstance(getattr(model, "capabilities", None), Capabilities):  # a module, say, or a model's name
        kind = type(model).__name__
        raise SettingError("model", f"must come from deepscope.load_model or deepscope.wrap, and is of type {kind}")
    missing = model.capabilities.missing(needs)
    if not missing:
        return
    if "probabilities" in missing:
        model.require_classes()
    if "rgb" in missing:
        channels = model.capabilities.channels
        raise UnsupportedError(
            f"{what} needs RGB or grey images, and {model.name} takes {channels} channels", what=what
        )
    lacking = " and ".join(_WORDS[need] for need in missing)
    because = f" ({model.capabilities.reason})" if model.capabilities.reason else ""
    import_public()  # which registers the families
    if family:
        names = _working(model, family)[:_SUGGESTED]
        instead = f": use {' or '.join(names)}" if names else ""
    else:
        families = sorted(UsesModel.__subclasses__(), key=lambda one: one.verb)
        names = [f"{one.verb} with {found[0]}" for one in families if (found := _working(model, one))]
        instead = f"; what works on it: {', '.join(names)}" if names else ""
    raise UnsupportedError(f"{what} needs {lacking}, which {model.name} does not give{because}{instead}", what=what)


def require_one_class(model: VisionModel, what: str, *, instead: str = "") -> None:
    """Refuse a model with several labels per image for what is about images of one class each.

    Args:
        model: any model.
        what: is about to run, as the message calls it.
        instead: what works, as a request.

    Raises:
        UnsupportedError: the model has several labels per image.
    """
    if model.head.kind == "multilabel":
        text = f"{what} is for images of one class each, and {model.name} has several labels per image"
        raise UnsupportedError(f"{text}: {instead}" if instead else text, what=what)


def matched(method: Run) -> Run:
    """A method of a `UsesModel` class whose first argument is a model, which is matched with the needs first."""

    @wraps(method)
    def run(self: UsesModel, model: VisionModel, *arguments: Any, **named: Any) -> Any:
        self.require(model)
        return method(self, model, *arguments, **named)

    return cast(Run, run)


def works(method: UsesModel | type[UsesModel], model: VisionModel) -> bool:
    """Whether the model can do what the method needs."""
    return not model.capabilities.missing(method.needs | method.all_need)


def _working(model: VisionModel, family: type[UsesModel]) -> list[str]:
    """The names of a family's methods that work on the model: usual first choices, those that use most of it first."""
    members = cast("type[Registered]", family).members()
    found = [(name, cast("type[UsesModel]", method)) for name, method in members.items()]
    found = [(name, method) for name, method in found if works(method, model)]
    return [name for name, method in sorted(found, key=lambda one: (not one[1].common, -len(one[1].needs)))]
