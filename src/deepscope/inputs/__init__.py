"""Images in any form as the input of workflows, read once with a model's preprocessing.

`gather` takes paths, folders, PIL images, arrays, tensors and datasets. `read` gives their pixels batch by batch in
flat memory, `stream_photos` also the model's logits; `read_photos` keeps everything.
"""

from deepscope.inputs.given import Given, Images, gather
from deepscope.inputs.labels import LabelTable, labels_beside, read_labels
from deepscope.inputs.photos import Photos, nothing_readable, read_photos, require_size, stream_photos
from deepscope.inputs.reading import Read, read
from deepscope.inputs.truth import labelled_answers, right_answers

__all__ = [
    "Given",
    "Images",
    "LabelTable",
    "Photos",
    "Read",
    "gather",
    "labelled_answers",
    "labels_beside",
    "nothing_readable",
    "read",
    "read_labels",
    "read_photos",
    "require_size",
    "right_answers",
    "stream_photos",
]
