// Light or dark, whatever the system says.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // A button that switches the page, and says what to. `given`: "light" or "dark" to begin with, or "" for the
  // system's. `onswitch(theme)`: it was pressed.
  explorer.theme = ({ given = "", onswitch } = {}) => {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "theme" });
    button.setAttribute("aria-label", "Switch between light and dark");
    const dark = () => (document.body.dataset.theme ? document.body.dataset.theme === "dark" : system.matches);
    const name = () => {
      button.textContent = dark() ? "Light" : "Dark";
    };
    if (given) document.body.dataset.theme = given;
    button.addEventListener("click", () => {
      document.body.dataset.theme = dark() ? "light" : "dark";
      name();
      dispatchEvent(new Event("deepscope-theme")); // what is drawn in a canvas follows
      onswitch?.(document.body.dataset.theme);
    });
    system.addEventListener("change", name);
    name();
    return button;
  };
})();
