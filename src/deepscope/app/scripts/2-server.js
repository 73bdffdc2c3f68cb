// Requests to the server: each has the token; a newer one of the same view makes an older one void.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const tab = Math.random().toString(36).slice(2, 12);

  const GONE = "the server does not answer: start `deepscope serve` again and open the address that it prints";

  const post = async (path, body, view, more = {}) => {
    const { headers = {}, ...rest } = more;
    let answer;
    try {
      answer = await fetch(`/api/${path}`, {
        method: "POST",
        body: body instanceof Blob ? body : JSON.stringify(body ?? {}),
        headers: { "X-Deepscope-Token": token, ...(view ? { "X-View": `${tab}/${view}` } : {}), ...headers },
        ...rest,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(GONE);
    }
    if (answer.ok) return answer;
    const text = await answer.text();
    let line = text;
    try {
      line = JSON.parse(text).error;
    } catch {
      // `Access` refuses in plain text
    }
    throw Object.assign(new Error(line), { status: answer.status });
  };

  app.ask = async (path, body, view, more) => (await post(path, body, view, more)).json();
  // Saves what the server answers as a file.
  app.download = async (path, body, name) => {
    const link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(await (await post(path, body)).blob()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };

  // Calls `each` with every line of an answer that comes line by line.
  app.stream = async (path, body, view, signal, each) => {
    const reader = (await post(path, body, view, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const said = JSON.parse(line);
        if (said.error) throw new Error(said.error);
        each(said);
      }
    }
  };

  // Runs `work` for the newest of the states that it is called with: one at a time, those in between are left out.
  app.newest = (work) => {
    let [running, waiting] = [false, null];
    const run = async () => {
      while (waiting) {
        const [given] = waiting;
        waiting = null;
        await work(given, () => waiting === null);
      }
      running = false;
    };
    return (given) => {
      waiting = [given];
      if (!running) {
        running = true;
        run();
      }
    };
  };
})();
