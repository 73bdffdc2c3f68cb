"""Shortcuts: what in the images, besides what they show, predicts their label or a classifier's errors."""

from deepscope.shortcuts.find import Shortcuts, error_shortcuts, label_shortcuts
from deepscope.shortcuts.properties import Properties, measure

__all__ = ["Properties", "Shortcuts", "error_shortcuts", "label_shortcuts", "measure"]
