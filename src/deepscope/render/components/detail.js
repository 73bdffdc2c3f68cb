// One image in full: its maps, what was predicted, what was measured, and what misleads the classifier.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // detail.open(place, places): show an entry; the arrow keys go through `places`. `onclose(place)`: the last one.
  explorer.detail = (data, { onclose }) => {
    const { el, button } = explorer;
    const heading = el("h3", { id: explorer.id("heading"), tabIndex: -1 });
    const body = el("div", { className: "ex-body" });
    const where = el("span", { className: "ex-where", role: "status" });
    const back = button("\u2190", () => step(-1), { "aria-label": "Previous image" });
    const on = button("\u2192", () => step(1), { "aria-label": "Next image" });
    const close = button("Close", () => dialog.close(), { className: "ex-close" });
    const dialog = el(
      "dialog",
      { className: "ex-detail", "aria-labelledby": heading.id },
      el("div", { className: "ex-head" }, heading, where, back, on, close),
      body,
    );
    let [place, places, method, strength] = [0, [], "", 85];

    const step = (by) => {
      const next = places[places.indexOf(place) + by];
      if (next !== undefined) show(next);
    };

    // The picture with a map over it; the choice of method and strength is kept from image to image.
    const stage = (one) => {
      const names = Object.keys(one.maps);
      const picture = el("img", { className: "ex-picture", src: one.picture, alt: `The image ${one.name}` });
      const over = el("img", { className: "ex-over" });
      const host = el("div", { className: "ex-stage" }, picture);
      sharpen(picture);
      sharpen(over);
      if (!names.length) return [host];
      const slider = el("input", { type: "range", min: 0, max: 100, value: strength, disabled: true });
      const group = explorer.id("map");
      const paint = () => {
        const seen = names.includes(method);
        slider.disabled = !seen;
        host.classList.toggle("ex-grey", seen);
        if (!seen) return over.remove();
        over.src = one.maps[method];
        over.alt = `Map of ${method}`;
        over.style.opacity = strength / 100;
        host.append(over);
      };
      const radio = (value, text) => {
        const input = el("input", { type: "radio", name: group, value, checked: value === method });
        input.addEventListener("change", () => {
          method = value;
          paint();
        });
        return el("label", {}, input, el("span", {}, text));
      };
      if (!names.includes(method)) method = method && names[0];
      slider.addEventListener("input", () => {
        strength = Number(slider.value);
        paint();
      });
      const maps = el("fieldset", { className: "ex-maps" }, el("legend", {}, "Map"), radio("", "none"));
      maps.append(...names.map((name) => radio(name, name)));
      paint();
      return [host, maps, el("label", { className: "ex-strength" }, el("span", {}, "Opacity of the map"), slider)];
    };

    const bars = (one) => {
      const rows = one.top.map(([name, probability]) => {
        const marked = name === one.truth;
        return { name: `${explorer.className(data, name)}${marked ? " (true)" : ""}`, probability, marked };
      });
      return rows.length ? section("Most probable classes", explorer.probabilities(rows)) : null;
    };

    const facts = (one) => {
      const found = el("dl", { className: "ex-facts" });
      const add = (name, text, meaning = "") =>
        found.append(el("dt", meaning ? { title: meaning } : {}, name), el("dd", {}, text));
      if (one.truth >= 0) add("truth", explorer.className(data, one.truth));
      if (one.predicted >= 0) {
        const verdict = { true: " (right)", false: " (wrong)" }[one.right] ?? "";
        add("predicted", explorer.className(data, one.predicted) + verdict);
      }
      for (const measured of data.measured) {
        const value = one.values[measured.name];
        if (value !== undefined) add(measured.title, explorer.written(measured, value), measured.meaning);
      }
      if (one.split) add("split", one.split);
      const notes = Object.entries(one.flags).map(([name, why]) =>
        el("p", { className: "ex-note" }, el("strong", {}, name), ` ${why}`),
      );
      const path = el("code", {}, one.file);
      return el("div", {}, ...notes, found, el("p", { className: "ex-path" }, path));
    };

    // Other images, each with a text: [place, text] pairs.
    const others = (title, pairs) => {
      if (!pairs.length) return null;
      const items = pairs.map(([other, text]) => {
        const { name, truth, picture, split } = data.entries[other];
        const kind = split === "train" ? "Training image" : "Image";
        const image = picture ? el("img", { src: picture, alt: `${kind} ${name}` }) : null;
        return el("li", {}, image, el("span", {}, `${explorer.className(data, truth) || name}, ${text}`));
      });
      return section(title, el("ul", { className: "ex-near" }, ...items));
    };
    const near = (one) =>
      others(
        "Most similar training images",
        one.near.map(([other, distance]) => [other, `distance ${distance?.toFixed(2)}`]),
      );
    const copies = (one) =>
      others(
        "Copies and near-copies",
        one.copies.map(([other, said]) => [other, `${{ train: "training image, ", test: "test image, " }[data.entries[other].split] ?? ""}${said}`]),
      );

    const changed = (one) => {
      const found = one.adversarial;
      if (!found) return null;
      const figure = (source, alt, text) => {
        const image = el("img", { src: source, alt });
        sharpen(image);
        return el("figure", {}, image, el("figcaption", {}, text));
      };
      const predicted = `${explorer.className(data, found.predicted)} (${explorer.share(found.probability)})`;
      return section(
        "A change that misleads the classifier",
        el(
          "div",
          { className: "ex-pair" },
          figure(found.picture, `${one.name} after the attack`, `predicted ${predicted}`),
          figure(found.difference, "The change around grey", `the change, \u00d7\u00a0${found.factor}`),
        ),
        el("p", { className: "ex-said" }, found.said),
      );
    };

    const section = (title, ...children) => el("section", {}, el("h4", {}, title), ...children);

    const show = (next) => {
      place = next;
      const one = data.entries[place];
      const position = places.indexOf(place);
      heading.textContent = one.name;
      where.textContent = position < 0 ? "" : `${position + 1} of ${places.length.toLocaleString("en")}`;
      back.disabled = position <= 0;
      on.disabled = position < 0 || position >= places.length - 1;
      const aside = el("div", { className: "ex-told" }, bars(one), facts(one), copies(one), near(one));
      body.replaceChildren(el("div", { className: "ex-seen" }, ...stage(one), changed(one)), aside);
      body.scrollTop = 0;
    };

    dialog.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1 };
      // Radio buttons and sliders have their own use for arrow keys.
      if (!(event.key in steps) || event.target.closest("input")) return;
      event.preventDefault();
      step(steps[event.key]);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    dialog.addEventListener("close", () => onclose(place));

    return {
      host: dialog,
      open(next, listed) {
        places = listed;
        show(next);
        dialog.showModal();
        heading.focus();
      },
    };
  };

  // Pictures of few pixels are enlarged without blur: their pixels are what the classifier sees.
  const sharpen = (image) => {
    const check = () => image.classList.toggle("ex-sharp", image.naturalWidth > 0 && image.naturalWidth < 64);
    image.addEventListener("load", check);
    check();
  };
})();
