// The image with what is painted over it, by pointer or by keyboard, the map above it and the frame of what is seen.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el } = globalThis.deepscopeExplorer;

  const NEAR = 6; // thousandths: points closer than that to the one before are left out
  const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // `colours`: red, green and blue that each brush leaves. `brush()` gives {brush, size}. `onpaint(strokes, done)`: they changed; `done` once the brush is lifted.
  app.canvas = ({ colours, brush, onpaint, onundo, onsay }) => {
    const canvas = el("canvas", { className: "ap-canvas", tabIndex: 0, role: "application" });
    canvas.setAttribute("aria-roledescription", "painting");
    const over = el("img", { className: "ap-over", alt: "", hidden: true });
    const frame = el("div", { className: "ap-frame", hidden: true });
    const cursor = el("div", { className: "ap-cursor", hidden: true });
    const host = el("div", { className: "ap-stage" }, canvas, over, frame, cursor);
    const context = canvas.getContext("2d");
    let [picture, soft, strokes, place] = [null, null, [], [500, 500]];

    const trace = (target, { size, points }) => {
      const at = ([x, y]) => [(x * canvas.width) / 1000, (y * canvas.height) / 1000];
      const width = Math.max(1, (size * Math.min(canvas.width, canvas.height)) / 1000);
      target.lineCap = target.lineJoin = "round";
      target.lineWidth = width;
      target.beginPath();
      target.moveTo(...at(points[0]));
      for (const point of points.length > 1 ? points : [points[0], points[0]]) target.lineTo(...at(point));
      target.stroke();
    };

    const layer = document.createElement("canvas");
    const draw = () => {
      if (!picture) return;
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      for (const one of strokes) {
        if (one.brush !== "blur") {
          context.strokeStyle = `rgb(${colours[one.brush].join(" ")})`;
          trace(context, one);
          continue;
        }
        [layer.width, layer.height] = [canvas.width, canvas.height]; // which also clears it
        const mask = layer.getContext("2d");
        trace(mask, one);
        mask.globalCompositeOperation = "source-in";
        mask.imageSmoothingQuality = "high";
        mask.drawImage(soft, 0, 0, canvas.width, canvas.height);
        context.drawImage(layer, 0, 0);
      }
    };

    const pointAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = (value) => Math.round(1000 * Math.min(1, Math.max(0, value)));
      return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
    };
    const outline = () => {
      const box = canvas.getBoundingClientRect();
      const side = Math.max(4, (brush().size * Math.min(box.width, box.height)) / 1000);
      cursor.style.width = cursor.style.height = `${side}px`;
      cursor.style.left = `${place[0] / 10}%`;
      cursor.style.top = `${place[1] / 10}%`;
      cursor.hidden = !picture;
    };

    let drawing = false;
    canvas.addEventListener("pointerdown", (event) => {
      if (!picture || event.button !== 0) return;
      drawing = true;
      canvas.setPointerCapture(event.pointerId);
      place = pointAt(event);
      strokes = [...strokes, { ...brush(), points: [place] }];
      draw();
      onpaint(strokes, false);
    });
    canvas.addEventListener("pointermove", (event) => {
      place = pointAt(event);
      outline();
      if (!drawing) return;
      const { points } = strokes.at(-1);
      if (Math.hypot(place[0] - points.at(-1)[0], place[1] - points.at(-1)[1]) < NEAR) return;
      strokes = [...strokes.slice(0, -1), { ...strokes.at(-1), points: [...points, place] }];
      draw();
      onpaint(strokes, false);
    });
    const lift = () => {
      if (drawing) onpaint(strokes, true);
      drawing = false;
    };
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, lift);
    canvas.addEventListener("pointerleave", () => {
      if (document.activeElement !== canvas) cursor.hidden = true;
    });
    canvas.addEventListener("focus", outline);
    canvas.addEventListener("blur", () => {
      cursor.hidden = true;
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        return onundo();
      }
      if (event.ctrlKey || event.metaKey || event.altKey || !picture) return;
      if (event.key in KEYS) {
        const by = event.shiftKey ? 100 : 20;
        place = place.map((value, axis) => Math.min(1000, Math.max(0, value + by * KEYS[event.key][axis])));
        outline();
        onsay(`Brush at ${place[0] / 10} % across, ${place[1] / 10} % down`);
      } else if (event.key === " " || event.key === "Enter") {
        strokes = [...strokes, { ...brush(), points: [[...place]] }];
        draw();
        onpaint(strokes, true);
      } else if (event.key === "Backspace") onundo();
      else return;
      event.preventDefault();
    });

    return {
      host,
      canvas,
      // A new image, as the server gave it.
      async open(found) {
        const image = el("img", { src: found.picture });
        await image.decode();
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        host.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
        host.style.setProperty("--shape", String(canvas.width / canvas.height));
        picture = image;
        soft = document.createElement("canvas");
        const small = 14 / Math.min(canvas.width, canvas.height);
        soft.width = Math.max(1, Math.round(canvas.width * small));
        soft.height = Math.max(1, Math.round(canvas.height * small));
        soft.getContext("2d").drawImage(image, 0, 0, soft.width, soft.height);
        canvas.setAttribute(
          "aria-label",
          `${found.name}. Arrow keys move the brush, with Shift in large steps; Space paints; Backspace undoes.`,
        );
        over.hidden = true;
        const [left, top, right, bottom] = found.seen[0];
        for (const one of [over, frame]) {
          one.style.left = `${100 * left}%`;
          one.style.top = `${100 * top}%`;
          one.style.width = `${100 * (right - left)}%`;
          one.style.height = `${100 * (bottom - top)}%`;
        }
        frame.hidden = left <= 0 && top <= 0 && right >= 1 && bottom >= 1;
      },
      show(next) {
        if (!drawing) strokes = next;
        draw();
      },
      map(source) {
        over.hidden = !source;
        if (source) over.src = source;
      },
      opacity(percent) {
        over.style.opacity = percent / 100;
      },
      outline,
    };
  };
})();
