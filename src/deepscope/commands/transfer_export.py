"""`deepscope transfer export`: a fitted classifier as one ONNX file."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import load_model
from deepscope.models.saved import ONNX
from deepscope.presenters.transfer_export import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.transfer.export import export


@dataclass(frozen=True)
class TransferExport(Command):
    """Write a classifier as an ONNX file, for programs without Python.

    The file takes "pixels", (N, 3, H, W) float32 in [0, 1], and gives "probabilities", (N, C). Its metadata holds
    the preprocessing and the categories, both as JSON, and the model's fingerprint. The file is run with onnxruntime
    and compared with the model before it is saved.

    Attributes:
        model: the folder that `transfer fit` wrote, or any classifier.
        check: images, or folders of them, on which the file and the model are compared.
        file: where to write; by default `model.onnx` in the folder given by --out, else in the model's own folder.
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
            raise SettingError("file", f"must name the ONNX file to write, since {self.model} is not a folder")
        return present(export(model, self.file or folder / ONNX, check=self.check or None, session=session))
