"""Words around kept figures: captions of those that were drawn without one, and numbers cut to their intervals."""

from __future__ import annotations

import re

from deepscope.statistics import Estimate

DRAWN_SINCE = "2026-11-27"
"""The day from which a figure's caption is part of its picture, ISO 8601."""
_INTERVAL = re.compile(r"(?<![\w.])([-+]?\d+\.\d+) \[([-+]?\d+\.\d+), ([-+]?\d+\.\d+)\](?!\d)")
_FIRST = "The first seed of each arm."
_CAPTIONS = {
    "Target accuracy": f"Accuracy on target images that were held out, along the training. {_FIRST}",
    "Domain classifier": "How often the network that tells source from target by their features is right: 0.5 is "
    f"chance, and then the features no longer show the domain. {_FIRST}",
    "Proxy A-distance": "How well a linear classifier tells source from target by their features: 2 without an "
    f"error, 0 not at all. {_FIRST}",
    "Confident predictions: coverage": "Part of the target images whose predicted class has a probability of at least "
    f"0.9: these could serve as pseudo-labels. {_FIRST}",
    "Confident predictions: precision": "Part of these confident predictions that is right. The axis does not begin "
    f"at 0. {_FIRST}",
    "Frechet distance of 1000 samples": "Distance between the features of 1,000 samples and of real digits, along the "
    f"training: lower is better. {_FIRST}",
    "Generator's loss": f"Low where the discriminator takes the samples for real. {_FIRST}",
    "Discriminator's loss": f"Low where it tells real images from samples. {_FIRST}",
    "D(x)": "Mean probability that the discriminator gives real images of being real: 0.5 where it cannot decide, 1 "
    f"where it is sure. {_FIRST}",
    "D(G(z))": "Mean probability that the discriminator gives samples of being real: 0.5 where it cannot decide, 0 "
    f"where it is sure that they are not. {_FIRST}",
    "Generator's gradient": f"Its length: near 0, the generator no longer learns. {_FIRST}",
    "Classes among 1000 samples": "How many of the classes occur: all ten digits, or a thousand combinations of "
    f"three. Fewer means that the generator leaves some out. {_FIRST}",
    "Diversity": "How much images of one class differ, relative to real ones: 1 is as much as they do, 0 that all are "
    f"the same. {_FIRST}",
    "unconditional": "Samples of a generator without classes, not selected.",
    "conditional": "A generator with classes: one class per row, and one latent vector z per column, which fixes the "
    "style. Not selected.",
    "clusters": "A generator whose classes are clusters that were found without labels. Not selected.",
    "y-absent-from-d": "A discriminator that does not see the label teaches the generator nothing about it: rows are "
    "classes, and hold any digit. Columns are latent vectors. Not selected.",
    "saturating": "Samples where the generator minimises log(1 - D(G(z))), as the theory has it. Not selected.",
    "only-4.2": "Only the generator is trained (equation 4.2): it fools a discriminator that never learnt.",
    "only-4.3": "Only the discriminator is trained (equation 4.3): the generator stays as it was made.",
    "stacked": "Three digits in red, green and blue, by a plain DCGAN. Not selected.",
    "stacked-packed": "The same, where the discriminator judges pairs of images (PacGAN). Not selected.",
    "Figure 2.9: hay to snail": "A photograph of hay after 200 steps towards the class snail.",
    "Source and targets": "Test photographs of 15-Scene, and the same after each corruption at its highest severity.",
}
_FEATURES = "Test images of both domains, placed by t-SNE of their features: only nearness has a meaning."
_CLASS_IMAGES = (
    "Each image was made to raise the score of this class, from noise where nothing else is said: by the method of the "
    "source, with its number of steps or its learning rate, or by deepscope's default."
)


def caption(title: str, own: str) -> str:
    """What a figure shows, in words: its own caption, or what this version says of one that was kept without.

    Args:
        title: of the figure.
        own: its caption, which may be empty.
    """
    if title.startswith("Features of "):
        return _FEATURES
    if title.startswith("Figures 2.5 to 2.12"):
        return _CLASS_IMAGES
    return _CAPTIONS.get(title, own)


def supported(text: str) -> str:
    """Figures with the digits that their intervals support: "24 [-27, 75]" for "23.940 [-27.441, 75.322]".

    No figure gets more digits than it has.
    """
    return _INTERVAL.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    value, low, high = found.groups()
    written = min(len(part.partition(".")[2]) for part in found.groups())
    places = min(written, Estimate(float(value), float(low), float(high)).decimals())
    first, *ends = (f"{round(float(part), places) + 0.0:{'+' * (part[0] == '+')}.{places}f}" for part in found.groups())
    return f"{first} [{', '.join(ends)}]"
