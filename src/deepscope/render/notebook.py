"""The explorer in a notebook, and as a page of its own.

Where anywidget is installed it is a widget, and Python knows which images are listed. Elsewhere it is the same page in
a frame that may run its scripts and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deepscope.errors import FileError, MissingExtraError
from deepscope.files import atomic
from deepscope.gallery import Gallery
from deepscope.names import counted, one_line
from deepscope.render import explorer
from deepscope.render.html import TEMPLATES, styles

_HEIGHT = 860
"""CSS pixels of the frame."""
_RENDER = """
export default {
  render({ model, el }) {
    el.classList.add("deepscope");
    const host = document.createElement("div");
    host.className = "explorer";
    el.append(host);
    const tell = (files) => {
      model.set("listed", files);
      model.save_changes();
    };
    globalThis.deepscopeExplorer.start(host, JSON.parse(model.get("data")), { onlist: tell });
  },
};
"""


class Explorer:
    """Images and what is known of them, to filter, sort, and look at one by one.

    A notebook shows it when it is the last value of a cell.

    Attributes:
        gallery: the images.

    Example:
        >>> import deepscope as ds
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> found = ds.explain(ds.load_model("efficientnet_lite0"), cat, method="grad-cam").explore()
        >>> len(found.gallery)
        1
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def page(self) -> str:
        """A self-contained HTML page, which asks for nothing."""
        script = explorer.script() + explorer.BOOT
        return TEMPLATES.render(
            "explorer.html.jinja",
            title=one_line(self.gallery.title) or "Images",
            explorer=explorer.element(self.gallery),
            style=Markup(styles() + explorer.styles()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            connects=False,
        )

    def save(self, file: str | Path) -> Path:
        """Write the page; returns its path.

        Raises:
            FileError: the file cannot be written.
        """
        path = Path(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_text(self.page(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise FileError(f"cannot write {path} ({reason}): name another file", path=path) from None
        return path

    @cached_property
    def widget(self) -> Any:
        """The explorer as an anywidget; its `listed` are the names of the images that are listed, in their order.

        Raises:
            MissingExtraError: anywidget is not installed.
        """
        try:
            import anywidget  # pyright: ignore[reportMissingImports]
            import traitlets
        except ImportError:
            raise MissingExtraError("notebook", "the widget") from None
        data = json.dumps(explorer.document(self.gallery), allow_nan=False)
        members = {
            "_esm": explorer.script() + _RENDER,
            "_css": styles() + explorer.styles(),
            "data": traitlets.Unicode(data).tag(sync=True),
            "listed": traitlets.List(traitlets.Unicode()).tag(sync=True),
        }
        return type("ExplorerWidget", (anywidget.AnyWidget,), members)()

    def _repr_mimebundle_(self, **_: Any) -> Any:
        try:
            return self.widget._repr_mimebundle_()
        except MissingExtraError:
            return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def _repr_html_(self) -> str:
        title = html.escape(one_line(self.gallery.title) or "Images", quote=True)
        source = html.escape(self.page(), quote=True)
        style = f"width:100%;height:{_HEIGHT}px;border:0"
        return f'<iframe sandbox="allow-scripts" title="{title}" style="{style}" srcdoc="{source}"></iframe>'

    def __repr__(self) -> str:
        return f"<Explorer of {counted(len(self.gallery), 'image')}>"
