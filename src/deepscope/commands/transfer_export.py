"""`deepscope transfer export`: a fitted classifier as one ONNX file."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope import images
from deepscope.commands.command import Command
from deepscope.commands.shown import skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import load_model
from deepscope.models.saved import ONNX
from deepscope.results import Block, Note, Provenance, Result
from deepscope.session import Session
from deepscope.transfer.export import compare_onnx, export_onnx


@dataclass(frozen=True)
class TransferExport(Command):
    """Write a classifier as an ONNX file, for programs without Python.

    The file takes "pixels", (N, 3, H, W) float32 in [0, 1], and gives "probabilities", (N, C). Its metadata says
    how to make the pixels ("preprocessing") and what the classes are ("categories"), both as JSON, and which model
    it is of ("fingerprint"). It is run once with onnxruntime and compared with the model before it is kept.

    Attributes:
        model: the folder that `transfer fit` wrote, or any classifier.
        check: images, or folders of them, that the file and the model both answer, to be compared.
        file: where to write; by default `model.onnx` in the folder given by --out, or else in the model's own.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "export"
    example: ClassVar[str] = "deepscope transfer export my-model"

    model: str
    _: KW_ONLY
    check: tuple[Path, ...] = ()
    file: Path | None = None

    def run(self, session: Session) -> Result:
        """Export and check."""
        model = load_model(self.model, session)
        folder = session.out or Path(self.model)
        if self.file is None and session.out is None and not folder.is_dir():
            raise DeepscopeError(f"where shall the ONNX file of {self.model} go? name it with --file")
        path = self.file or folder / ONNX
        difference = export_onnx(model, path)
        metrics = {"bytes": float(path.stat().st_size), "difference": difference}
        text = f"{path} gives the model's probabilities to within {difference:.1g}, run by onnxruntime."
        blocks: tuple[Block, ...] = (Note(text),)
        if self.check:
            found = images.find(self.check)
            seen = compare_onnx(model, path, found.paths, session)
            metrics |= {"images": seen.images, "same-top-1": seen.same, "difference": seen.difference}
            text = f"Same class for {seen.same} of {seen.images}, probabilities to within {seen.difference:.1g}."
            blocks += (Note(text, "On images"), *skipped_blocks((*found.skipped, *seen.skipped)))
        return Result(
            title=f"{model.name} as ONNX",
            metrics=metrics,
            blocks=blocks,
            provenance=Provenance(models={model.name: model.fingerprint}),
        )
