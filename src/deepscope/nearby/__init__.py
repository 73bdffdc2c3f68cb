"""Running a network on images that differ from a known image in a small window, at the price of the window.

The output of a convolution or a pooling changes only where its kernel meets the change. Everywhere else it equals the
output for the known image, which is computed once and kept.
"""

from deepscope.nearby.network import Nearby, around

__all__ = ["Nearby", "around"]
