// The page: its parts, the state that they share, and how images come in.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, button, choice } = globalThis.deepscopeExplorer;

  const BRUSHES = [
    ["blur", "Blur"],
    ["grey", "Grey"],
    ["black", "Black"],
    ["white", "White"],
  ];
  const about = JSON.parse(document.getElementById("about").textContent);
  const [first, second] = about.models;
  const [places, sizes] = [document.getElementById("image"), document.getElementById("answers")];
  const status = document.getElementById("status");
  const problem = document.getElementById("problem");
  let state = app.state(location.hash);
  let [opened, brush, size] = [null, "blur", 120];

  const say = (line) => {
    status.textContent = line;
  };
  const fail = (line) => {
    problem.textContent = line;
    problem.hidden = !line;
  };

  // The one place where the state changes: the address, then whatever depends on what changed.
  const change = (part) => {
    const before = state;
    state = { ...state, ...part };
    history.replaceState(null, "", app.address(state));
    refresh(before);
  };

  const asked = (now, model = 0) => {
    const label = now.target === "" ? null : model ? second.classes.indexOf(first.classes[now.target]) : +now.target;
    return {
      image: opened.image,
      strokes: now.strokes,
      model,
      method: model && ![...second.methods, ...second.costly].includes(now.method) ? "" : now.method,
      target: label === null || label < 0 ? null : label,
      ...(model ? {} : { radius: now.radius, goal: now.goal === "" ? null : +now.goal }),
    };
  };

  const undo = () => change({ strokes: state.strokes.slice(0, -1) });
  const canvas = app.canvas({
    colours: about.brushes,
    brush: () => ({ brush, size }),
    onpaint: (strokes, done) => (done ? change({ strokes }) : preview({ ...state, strokes })),
    onundo: undo,
    onsay: say,
  });
  const panels = about.models.map((model, place) =>
    app.panel(model, {
      onpick: (label) => change({ target: place ? named(label) : String(label) }),
      request: () => asked(state, place),
      onmap(found) {
        panels[place].show(found, state.strokes.length > 0);
        if (place) return;
        canvas.map(found.map);
        say(`The map of ${found.costly} is there`);
      },
    }),
  );
  const named = (label) => {
    const there = first.classes.indexOf(second.classes[label]);
    return there < 0 ? state.target : String(there);
  };
  const request = (now) => asked(now);
  const adversary = app.adversary(first, { onchange: change, request });
  const dream = app.dream(about.models, { onchange: change, name: "dream" });
  let seen = ""; // the picture of the last answer
  const session = app.session({
    onopen: (kept) => change(kept),
    current() {
      if (!seen) return null;
      const every = state.compare && second ? [asked(state), asked(state, 1)] : [asked(state)];
      return { state, picture: seen, title: `${opened.name}${state.strokes.length ? ", edited" : ""}`, asked: every };
    },
  });

  const answered = []; // what the panels show
  const drawn = (wanted) => wanted.image === opened.image && wanted.strokes.length > 0; // a step of a stroke
  const looks = panels.map((panel, place) =>
    app.newest(async (now, latest) => {
      const wanted = asked(now, place);
      if (JSON.stringify(wanted) === answered[place]) return; // lifting the brush asks for what is there already
      panel.stop();
      panel.busy(true);
      try {
        const found = await app.ask("look", wanted, `look${place}`);
        if (!latest() && !drawn(wanted)) return;
        answered[place] = JSON.stringify(wanted);
        panel.fail("");
        const line = panel.show(found, now.strokes.length > 0);
        if (place) return;
        say(line);
        canvas.map(found.map);
        seen = found.picture;
      } catch (error) {
        answered[place] = "";
        if (latest() && error.status !== 409) panel.fail(error.message);
      } finally {
        panel.busy(false);
      }
    }),
  );
  const preview = (now) => {
    looks[0](now);
    if (second && now.compare) looks[1](now);
  };

  const differs = (before, ...names) => names.some((name) => before[name] !== state[name]);
  const refresh = (before) => {
    fields();
    if (state.image !== (opened?.from ?? "")) return void reopen();
    if (!opened) return;
    canvas.show(state.strokes);
    if (differs(before, "strokes", "method", "target")) preview(state);
    else if (differs(before, "compare") && state.compare) looks[1]?.(state);
    if (differs(before, "strokes", "radius", "goal")) adversary.show(state);
  };

  // Holds the image that the state names, then shows everything.
  const hold = async (load, from) => {
    places.setAttribute("aria-busy", "true");
    try {
      const found = await load();
      opened = { ...found, from: from ?? `sent:${found.image}` };
      fail("");
      await canvas.open(found);
      document.body.classList.add("ap-opened");
      state = { ...state, image: opened.from };
      history.replaceState(null, "", app.address(state));
      fields();
      canvas.show(state.strokes);
      preview(state);
      adversary.show(state);
      say(`${found.name} is open`);
    } catch (error) {
      fail(error.message);
    }
    places.setAttribute("aria-busy", "false");
  };
  const reopen = () => {
    const [kind, name] = [state.image.slice(0, 6), state.image.slice(7)];
    if (kind === "choice") return hold(() => app.ask("choose", { name }), state.image);
    if (state.image.startsWith("sent:")) return hold(() => app.ask("choose", { key: state.image.slice(5) }), state.image);
    return null;
  };
  const choose = (name) => {
    state = { ...state, strokes: [], target: "", image: `choice:${name}` };
    return reopen();
  };
  const send = (file) => {
    if (file.size > about.upload) {
      return fail(`${file.name} has more than ${about.upload >> 20} MB, the limit: make it smaller first`);
    }
    state = { ...state, strokes: [], target: "" };
    return hold(() => app.ask("open", file, "open", { headers: { "X-Name": encodeURIComponent(file.name ?? "image") } }));
  };

  // What a person can set.
  const method = choice(
    "Map",
    first.methods.map((name) => [name, name]),
    first.method,
    (value) => change({ method: value }),
  );
  if (first.costly.length) {
    const slow = el("optgroup", { label: "hundreds of passes" });
    slow.append(...first.costly.map((name) => el("option", { value: name }, name)));
    method.querySelector("select").append(slow);
  }
  const target = app.classes(first, "Explain", "most probable", (value) => change({ target: value }));
  const opacity = el("input", { type: "range", min: 0, max: 100 });
  opacity.addEventListener("input", () => change({ opacity: Number(opacity.value) }));
  const compare = el("input", { type: "checkbox" });
  compare.addEventListener("change", () => change({ compare: compare.checked }));
  const back = button("Undo", undo);
  const clear = button("Clear", () => change({ strokes: [] }));

  const fields = () => {
    method.querySelector("select").value = state.method || first.method;
    target.querySelector("select").value = state.target;
    opacity.value = state.opacity;
    compare.checked = state.compare;
    for (const one of [canvas, ...panels]) one.opacity(state.opacity);
    if (panels[1]) panels[1].host.hidden = !state.compare;
    back.disabled = clear.disabled = !state.strokes.length;
    dream.show(state);
  };

  const brushes = el("fieldset", { className: "ex-maps" }, el("legend", {}, "Brush"));
  for (const [value, text] of BRUSHES) {
    const input = el("input", { type: "radio", name: "brush", value, checked: value === brush });
    input.addEventListener("change", () => {
      brush = value;
    });
    brushes.append(el("label", {}, input, el("span", {}, text)));
  }
  const width = el("input", { type: "range", min: 20, max: 400, step: 10, value: size });
  width.addEventListener("input", () => {
    size = Number(width.value);
  });

  const slider = (text, input) => el("label", { className: "ex-strength" }, el("span", {}, text), input);
  const tools = el(
    "div",
    { className: "ap-tools", role: "group", "aria-label": "Painting" },
    brushes,
    slider("Size", width),
    el("div", { className: "ap-row" }, back, clear),
  );
  const strip = el("ul", { className: "ap-strip", "aria-label": "Images to choose" });
  for (const name of about.choices) {
    const image = el("img", { alt: "", width: 72, height: 72, hidden: true });
    const one = button("", () => choose(name), { title: name });
    one.append(image, el("span", {}, name));
    strip.append(el("li", {}, one));
  }
  const controls = el("div", { className: "ap-controls" }, method, target, slider("Opacity", opacity));
  if (second) {
    controls.append(el("label", { className: "ap-check" }, compare, el("span", {}, `Compare with ${second.name}`)));
  }
  places.append(canvas.host, tools);
  document.getElementById("choices").append(strip);
  sizes.append(controls, ...panels.map((panel) => panel.host));
  document.getElementById("more").append(adversary.host, dream.host, session.host);
  document
    .querySelector("header")
    .append(globalThis.deepscopeExplorer.theme({ given: state.theme, onswitch: (theme) => change({ theme }) }));
  method.hidden = target.hidden = !first.methods.length && !first.costly.length;
  adversary.host.hidden = !first.gradients;
  dream.host.hidden = !about.models.some((model) => model.gradients);

  // Files come by the dialog, by drag and drop, or from the clipboard.
  const file = document.getElementById("file");
  file.addEventListener("change", () => {
    if (file.files.length) send(file.files[0]);
    file.value = "";
  });
  const dropping = (yes) => document.body.classList.toggle("ap-dropping", yes);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    dropping(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && dropping(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(false);
    const [given] = event.dataTransfer.files;
    if (given) send(given);
    else fail("nothing was dropped that is a file");
  });
  addEventListener("paste", (event) => {
    const [given] = event.clipboardData.files;
    if (given) send(given);
  });
  addEventListener("hashchange", () => {
    const before = state;
    state = app.state(location.hash);
    refresh(before);
  });

  const other = document.getElementById("directions");
  if (other) other.href = `directions${location.search}`; // with the token

  fields();
  if (state.image) reopen();
  else if (about.choices.length) choose(about.choices.includes("chelsea.png") ? "chelsea.png" : about.choices[0]);
  app
    .ask("thumbnails")
    .then((pictures) => {
      [...strip.querySelectorAll("button")].forEach((one, place) => {
        const image = one.querySelector("img");
        const source = pictures[about.choices[place]];
        if (source) [image.src, image.hidden] = [source, false];
      });
    })
    .catch(() => null); // names alone will do
})();
