"""What happens to files on a disk: flipped bits, lost blocks, cut ends, another file's content."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Damage:
    """Of one kind, at a place in [0, 1) of the file, `extent` bytes long."""

    kind: str
    place: float
    extent: int
    bit: int

    def __call__(self, content: bytes) -> bytes:
        at = int(self.place * len(content))
        end = min(at + self.extent, len(content))
        match self.kind:
            case "flip":
                return content[:at] + bytes([content[at] ^ 1 << self.bit]) + content[at + 1 :] if content else content
            case "zeros":
                return content[:at] + bytes(end - at) + content[end:]
            case "cut":
                return content[:at]
            case "lost":
                return content[:at] + content[end:]
            case "longer":
                return content + content[at:end]
            case "twice":
                return content[:end] + content[at:]
            case _:
                return b"foreign"


damages = st.builds(
    Damage,
    st.sampled_from(["flip", "flip", "zeros", "cut", "lost", "longer", "twice", "foreign"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 3000),
    st.integers(0, 7),
)
