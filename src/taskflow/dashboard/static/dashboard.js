// What pages gain from a script: live parts, times in the viewer's zone, dialogs, keys. All of it works without, only less well.
(() => {
  "use strict";
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // -- times --------------------------------------------------------------------------------------------------------
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
  const zoned = (moment) => {
    const name = zone.formatToParts(moment).find((part) => part.type === "timeZoneName");
    return `${full.format(moment)} ${name ? name.value : ""}`;
  };
  const two = (number) => String(number).padStart(2, "0");

  // The same words as wording.relative on the server.
  const relative = (moment, now) => {
    const distance = moment - now;
    if (Math.abs(distance) > 2 * 86400e3) {
      return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ${two(moment.getHours())}:${two(moment.getMinutes())}`;
    }
    const seconds = Math.round(Math.abs(distance) / 1000);
    const length = seconds >= 3600 ? `${Math.floor(seconds / 3600)}h` : seconds >= 60 ? `${Math.floor(seconds / 60)}m` : `${seconds}s`;
    return distance > 0 ? `in ${length}` : `${length} ago`;
  };

  const showTimes = (within = document) => {
    const now = new Date();
    for (const element of all("time[datetime]", within)) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      if ("relative" in element.dataset) {
        const text = relative(moment, now);
        if (element.textContent !== text) element.textContent = text;
        element.title = zoned(moment);
      } else if ("absolute" in element.dataset) {
        element.textContent = zoned(moment);
      }
    }
  };
  showTimes();
  setInterval(() => { if (!document.hidden) showTimes(); }, 1000);

  // -- live parts: elements with data-live and an id are replaced by what the page has now ----------------------------
  const main = one("main");
  const toggle = one("[data-live-toggle]");
  const live = { source: null, timer: 0, asked: false, busy: false, again: false, last: 0, took: 0, paused: false };
  const PAUSE = 2000;
  const SHARE = 10; // a refresh takes a tenth of the time at most, so that a busy server is asked less often

  const say = (state, word) => {
    if (!toggle) return;
    toggle.dataset.state = state;
    toggle.setAttribute("aria-pressed", String(state === "paused"));
    one("[data-live-word]", toggle).textContent = word;
    toggle.setAttribute("aria-label", `${word}: ${state === "paused" ? "go on" : "pause"}`);
  };

  // Puts back what the viewer has done to a part: open details, ticked boxes, places in lists, the focus.
  const keep = (old, fresh) => {
    for (const details of all("details[id]", old)) {
      const twin = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (twin) twin.open = details.open;
    }
    for (const box of all("input[type=checkbox]:checked", old)) {
      const twin = all("input[type=checkbox]", fresh).find((each) => each.name === box.name && each.value === box.value);
      if (twin) twin.checked = true;
    }
    const row = one("tr[data-current]", old);
    if (row && row.id) {
      const twin = fresh.querySelector(`#${CSS.escape(row.id)}`);
      if (twin) twin.dataset.current = "";
    }
  };

  const place = (element, within) => element === within ? [] : [...place(element.parentElement, within), [...element.parentElement.children].indexOf(element)];
  const at = (path, within) => path.reduce((found, index) => found && found.children[index], within);

  const swap = (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (focused && focused.matches("input:not([type=checkbox]), textarea, select")) return; // somebody writes here
    const selection = getSelection();
    if (selection && !selection.isCollapsed && old.contains(selection.anchorNode)) return; // somebody copies from here
    const path = focused ? place(focused, old) : null;
    const scrolled = all(".scroll, pre", old).map((each) => [each.scrollLeft, each.scrollTop]);
    keep(old, fresh);
    old.replaceWith(fresh);
    all(".scroll, pre", fresh).forEach((each, index) => { if (scrolled[index]) [each.scrollLeft, each.scrollTop] = scrolled[index]; });
    const twin = path && at(path, fresh);
    if (twin) twin.focus({ preventScroll: true });
    fresh.dispatchEvent(new CustomEvent("taskflow:live", { bubbles: true }));
  };

  const originals = new Map();
  const note = (element) => originals.set(element.id, element.outerHTML);

  const refresh = async () => {
    if (live.busy) { live.again = true; return; }
    live.busy = true;
    live.again = false;
    live.last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-TaskFlow-Live": "1" }, credentials: "same-origin" });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) { say("lost", answer.status === 429 ? "Too many requests" : "No answer"); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (live.paused) return;
      for (const fresh of all("[data-live][id]", page)) {
        const text = fresh.outerHTML;
        const old = document.getElementById(fresh.id);
        if (!old || originals.get(fresh.id) === text || one("dialog[open]")) continue;
        const copy = document.importNode(fresh, true);
        swap(old, copy);
        if (copy.isConnected) originals.set(fresh.id, text);
      }
      showTimes();
      say("live", "Live");
    } catch {
      say("lost", "No answer");
    } finally {
      live.took = Date.now() - live.last;
      live.busy = false;
      if (live.again) soon();
    }
  };

  // Asks at most once in two seconds, however much changes; less often where an answer takes long.
  const soon = () => {
    if (live.asked || live.paused || document.hidden) return;
    live.asked = true;
    setTimeout(() => { live.asked = false; if (!live.paused && !document.hidden) refresh(); }, Math.max(0, live.last + Math.max(PAUSE, SHARE * live.took) - Date.now()));
  };

  const listen = () => {
    if (live.paused || document.hidden) return;
    if (main.dataset.events && !live.source) {
      live.source = new EventSource(main.dataset.events);
      for (const name of (main.dataset.eventNames || "change").split(" ")) live.source.addEventListener(name, soon);
      live.source.addEventListener("open", () => say("live", "Live"));
      live.source.addEventListener("error", () => say("lost", "No answer"));
    }
    if (main.dataset.every && !live.timer) live.timer = setInterval(soon, Number(main.dataset.every) * 1000);
  };

  // A hidden page holds no connection: browsers open only six to a host.
  const rest = () => {
    if (live.source) live.source.close();
    clearInterval(live.timer);
    live.source = null;
    live.timer = 0;
  };

  if (main && (main.dataset.events || main.dataset.every)) {
    all("[data-live][id]").forEach(note);
    if (toggle) {
      toggle.hidden = false;
      toggle.addEventListener("click", () => {
        live.paused = !live.paused;
        if (live.paused) { rest(); say("paused", "Paused"); } else { say("live", "Live"); listen(); soon(); }
      });
    }
    say("live", "Live");
    listen();
    document.addEventListener("visibilitychange", () => { if (document.hidden) rest(); else { listen(); soon(); } });
    addEventListener("pagehide", rest);
    addEventListener("pageshow", (event) => { if (event.persisted) { listen(); soon(); } });
  }

  // -- forms that ask first -------------------------------------------------------------------------------------------
  const dialog = one("#confirm");
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = form.dataset.confirm;
    if (!question || !dialog || form.elements.namedItem("confirmed")) return;
    event.preventDefault();
    const submitter = event.submitter;
    one("#confirm-question").textContent = question;
    const detail = one("[data-detail]", dialog);
    detail.textContent = form.dataset.detail || "";
    detail.hidden = !form.dataset.detail;
    one("[data-label]", dialog).textContent = form.dataset.label || "Go on";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") { if (submitter) submitter.focus(); return; }
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = "confirmed";
      field.value = "yes";
      form.append(field);
      form.requestSubmit(submitter && submitter.form === form ? submitter : undefined);
    }, { once: true });
    dialog.showModal();
  });
  // The second click of a double click does nothing again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (event.timeStamp - Number(form.dataset.sent || -Infinity) < 1000) event.preventDefault();
    else form.dataset.sent = String(event.timeStamp);
  });
  // A page that comes back from the browser's memory has no forms that were confirmed.
  addEventListener("pageshow", () => all("input[type=hidden][name=confirmed]").forEach((field) => { if (field.form && field.form.dataset.confirm) field.remove(); }));

  // -- theme, menu, help ----------------------------------------------------------------------------------------------
  const on = (selector, act) => { const element = one(selector); if (element) element.addEventListener("click", act); };
  on("[data-theme-toggle]", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("taskflow-theme", root.dataset.theme); } catch { /* storage may be closed to pages */ }
  });
  on("[data-menu]", (event) => {
    const open = one("#navigation").toggleAttribute("data-open");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });
  on("[data-help]", () => one("#help").showModal());
  document.addEventListener("click", (event) => {
    for (const sheet of all("details.account[open]")) if (!sheet.contains(event.target)) sheet.open = false;
  });

  // -- keys -----------------------------------------------------------------------------------------------------------
  const rows = () => all("tr[data-row]").filter((row) => row.offsetParent);
  const move = (step) => {
    const known = rows();
    if (!known.length) return;
    const current = known.findIndex((row) => "current" in row.dataset);
    const next = known[Math.min(Math.max(current + step, 0), known.length - 1)];
    if (current >= 0) delete known[current].dataset.current;
    next.dataset.current = "";
    next.scrollIntoView({ block: "nearest" });
    const target = one("a", next) || one("button, input, summary", next);
    if (target) target.focus({ preventScroll: true });
  };
  const shortcuts = {
    "/": () => { const field = one("main [data-search]") || one("[data-search]"); if (field) { field.focus(); field.select(); } },
    "?": () => { const help = one("#help"); if (help) help.showModal(); },
    j: () => move(1),
    k: () => move(-1),
    x: () => { const box = one("tr[data-current] input[type=checkbox]"); if (box) box.click(); },
  };
  let leader = 0;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") || one("dialog[open]")) return;
    if (Date.now() - leader < 1500) {
      leader = 0;
      const link = all("a[data-go]").find((each) => each.dataset.go === event.key);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (event.key === "g") { leader = Date.now(); return; }
    const act = shortcuts[event.key];
    if (act) { event.preventDefault(); act(); }
  });
})();
