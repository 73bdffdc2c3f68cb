"""The one training loop: `fit` runs a `Step` over batches, in one process or several, and can be resumed."""

from deepscope.training.batches import Shuffled
from deepscope.training.checkpoints import CHECKPOINT, Checkpoint, remove_training
from deepscope.training.history import History
from deepscope.training.loop import Batches, Diverged, Log, Moment, Step, Update, fit
from deepscope.training.schedules import cosine_decay

__all__ = [
    "CHECKPOINT",
    "Batches",
    "Checkpoint",
    "Diverged",
    "History",
    "Log",
    "Moment",
    "Shuffled",
    "Step",
    "Update",
    "cosine_decay",
    "fit",
    "remove_training",
]
