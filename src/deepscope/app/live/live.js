// The pictures of the page of sliders, from the server: for the newest places of the sliders, one request at a time.
(() => {
  "use strict";
  const app = globalThis.deepscopeApp;

  globalThis.deepscopeLive = {
    // Gives a function that asks for the picture of some places; `shown(source, words)`, `failed(line)`.
    follow(shown, failed) {
      const newest = app.newest(async ([asked, words], latest) => {
        try {
          const found = await app.ask("move", asked, "move");
          shown(found.picture, words);
          failed("");
        } catch (error) {
          if (latest() && error.status !== 409) failed(error.message);
        }
      });
      return (asked, words) => newest([asked, words]);
    },

    exported: (asked) => app.download("directions", asked, "directions.html"),

    back: globalThis.deepscopeExplorer.el("a", { className: "sl-back", href: `./${location.search}` }, "Images"),
  };
})();
