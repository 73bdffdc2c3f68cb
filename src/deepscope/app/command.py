"""`deepscope serve`: the local page."""

from __future__ import annotations

import importlib.util
import secrets
import time
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope.command import Command
from deepscope.errors import MissingExtraError, SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.results import Provenance, Result
from deepscope.session import Session
from deepscope.settings import Range


@dataclass(frozen=True)
class Serve(Command):
    """Open a local page: drop an image, see classes and maps at once, paint over it, attack it.

    The page also synthesises class images, compares two models, and exports what it shows. For a generator there is a
    second page, on which sliders move its z. Both serve this machine only: the printed addresses hold a secret token.
    Images stay in memory and are never written to disk. Ctrl-C ends it.

    Attributes:
        folder: whose images the page offers; by default the photographs that come with the installation.
        model: the classifier; `deepscope models` lists them.
        compare: another classifier, shown beside it.
        gan: the folder that `gan train` wrote, of a generator whose z is moved by sliders.
        host: the address to listen on; only "127.0.0.1" and "::1" keep other machines out.
        port: to listen on; 0 picks a free one.
    """

    name: ClassVar[str] = "serve"
    example: ClassVar[str] = "deepscope serve photos/ --compare squeezenet1_0"

    folder: Path | None = None
    _: KW_ONLY
    model: str = DEFAULT
    compare: str | None = None
    gan: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8765

    def run(self, session: Session) -> Result:
        """Serve until ctrl-C."""
        if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
            raise MissingExtraError("app", "the local page")
        from deepscope.app import pictures, web
        from deepscope.app.access import is_local
        from deepscope.app.latent import LatentStudio
        from deepscope.app.studio import Studio
        from deepscope.data.photographs import bundled_photographs

        latent = None if self.gan is None else LatentStudio(self.gan, session)
        choices = pictures.choices(self.folder, bundled_photographs().paths)
        models = tuple(load_model(name, session) for name in (self.model, self.compare) if name is not None)
        studio = Studio(models, choices, session)
        studio.warm()
        if latent is not None:
            latent.warm()
        token = secrets.token_urlsafe(24)
        try:
            socket = web.listening(self.host, self.port)
        except OSError as error:
            problem = f"cannot be listened on at {self.host} ({error.strerror or error}): choose another, or 0"
            raise SettingError("port", problem, got=self.port) from None
        speaking = replace(session, quiet=False)  # without the address there is no page
        if not is_local(self.host):
            speaking.note(f"{self.host} can be reached from other machines, and nothing is encrypted")
        port = socket.getsockname()[1]
        if latent is not None:
            speaking.note(f"the sliders are at {web.address(self.host, port, token, '/directions')}")
        speaking.note(f"open {web.address(self.host, port, token)} (ctrl-C ends it)")
        began = time.monotonic()
        with socket, suppress(KeyboardInterrupt):
            web.server(web.application(studio, token, self.host, latent)).run(sockets=[socket])
        return Result(
            title="The local page",
            metrics={"seconds": round(time.monotonic() - began, 1)},
            provenance=Provenance(
                models={one.name: one.fingerprint for one in (*models, *((latent,) if latent else ()))}
            ),
        )
