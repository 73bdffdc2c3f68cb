// Links of a page to images of its explorer.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // `select(places, title)` lists images. A link names them in `data-images`, and what they are in `data-said`; its
  // address is the explorer's, so that a browser goes there, and back.
  explorer.links = (select) => {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-images]");
      if (!link) return;
      const places = link.dataset.images.split(" ").map(Number);
      setTimeout(() => select(places, link.dataset.said)); // once the browser is there
    });
  };
})();
