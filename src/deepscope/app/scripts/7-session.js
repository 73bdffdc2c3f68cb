// The views that were kept, and their export as a self-contained page.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, button } = globalThis.deepscopeExplorer;
  const MOST = 24;

  // `current()` gives the present view, or null: {state, picture, title, asked}, `asked` being what the server is told.
  app.session = ({ onopen, current }) => {
    let views = [];
    const list = el("ul", { className: "ap-kept", "aria-label": "Views that were kept" });
    const failed = el("p", { className: "ap-error", role: "alert", hidden: true });
    const told = el("p", { className: "ex-help", role: "status" });
    const keep = button("Keep this view", () => {
      const view = current();
      if (!view) return;
      views = [...views, view].slice(-MOST);
      draw();
    });
    const save = button("Export the page", () => exported(views.length ? views : [current()]), { className: "ap-main" });
    const host = el(
      "section",
      { className: "ap-panel", "aria-labelledby": "session" },
      el("h2", { id: "session" }, "Session"),
      el("p", { className: "ex-help" }, "Keep views, then export all of them, or the present one, as one file."),
      el("div", { className: "ap-row" }, keep, save),
      failed,
      told,
      list,
    );

    const draw = () => {
      list.replaceChildren(
        ...views.map((view, place) => {
          const image = el("img", { src: view.picture, alt: "", width: 72, height: 72 });
          const open = button("", () => onopen(view.state), { className: "ap-view", title: view.title });
          open.append(image, el("span", {}, view.title));
          const drop = button("\u00d7", () => {
            views = views.filter((_, other) => other !== place);
            draw();
            keep.focus();
          });
          drop.setAttribute("aria-label", `Remove ${view.title}`);
          return el("li", {}, open, drop);
        }),
      );
      told.textContent = views.length ? `${globalThis.deepscopeExplorer.plural(views.length, "view")} kept` : "";
    };

    const exported = async (chosen) => {
      if (!chosen[0]) return;
      [save.disabled, failed.hidden, told.textContent] = [true, true, "Making the page \u2026"];
      try {
        await app.download("export", { looks: chosen.flatMap((view) => view.asked) }, "deepscope.html");
        told.textContent = "Exported as deepscope.html";
      } catch (error) {
        [failed.textContent, failed.hidden, told.textContent] = [error.message, false, ""];
      }
      save.disabled = false;
    };

    return { host };
  };
})();
