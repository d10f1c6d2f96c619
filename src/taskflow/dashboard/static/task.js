// The page of a task: its progress as it comes, and its command to the clipboard.
(() => {
  "use strict";
  const one = (selector, within = document) => within.querySelector(selector);
  let source = null;
  let ended = false;

  const paused = () => {
    const toggle = one("[data-live-toggle]");
    return toggle !== null && toggle.getAttribute("aria-pressed") === "true";
  };

  const show = (event) => {
    const bar = one("#progress progress");
    if (!bar || paused()) return; // there is no bar before the first word: the page brings it
    const told = JSON.parse(event.data);
    bar.value = told.percentage;
    one("#progress [data-percentage]").textContent = `${Math.round(told.percentage * 100) / 100} %`;
    one("#progress [data-stage]").textContent = told.stage;
    one("#progress [data-message]").textContent = told.message;
  };

  const listen = () => {
    const part = one("#progress[data-stream]");
    if (source || ended || document.hidden || !part) return;
    source = new EventSource(part.dataset.stream);
    source.addEventListener("progress", show);
    source.addEventListener("end", () => { ended = true; rest(); });
  };
  const rest = () => {
    if (source) source.close();
    source = null;
  };
  listen();
  document.addEventListener("visibilitychange", () => { if (document.hidden) rest(); else listen(); });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = one(`#${button.dataset.copy}`).textContent;
    const told = one("[data-copied]", button.parentElement);
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(one(`#${button.dataset.copy}`));
      told.textContent = "Press Ctrl+C to copy what is selected.";
    }
  });
})();
