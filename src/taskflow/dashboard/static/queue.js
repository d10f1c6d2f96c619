// Lists of tasks: how many are selected, the question that names their number; and work in steps that goes on by itself.
(() => {
  "use strict";
  const one = (selector, within = document) => within.querySelector(selector);
  const form = one("form[data-selection]");

  // -- selection ----------------------------------------------------------------------------------------------------
  const boxes = () => [...document.querySelectorAll("input[type=checkbox][name=id][form=selection]")];
  const count = () => boxes().filter((box) => box.checked).length;

  const show = () => {
    const chosen = count(), all = one("[data-all]", form);
    one("[data-chosen]", form).textContent = chosen ? `${chosen} selected` : "none selected";
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
    for (const button of form.querySelectorAll("button[data-many]")) button.disabled = !chosen;
  };

  if (form) {
    const all = one("[data-all]", form);
    const selectAll = () => { for (const box of boxes()) box.checked = all.checked; show(); };
    all.addEventListener("change", selectAll);
    document.addEventListener("change", (event) => { if (event.target.matches("input[name=id]")) show(); });
    document.addEventListener("taskflow:live", show);
    addEventListener("pageshow", show);
    if (all.checked) selectAll(); else show(); // somebody was quicker than the script
    // Before the question is asked: it is about what is selected now.
    document.addEventListener("submit", (event) => {
      if (event.target !== form) return;
      const button = event.submitter, chosen = button && button.name === "only" ? 1 : count();
      const question = !button ? "" : chosen === 1 ? button.dataset.one || "" : button.dataset.many.replace("#", chosen.toLocaleString("en"));
      form.dataset.confirm = question;
      form.dataset.detail = (button && button.dataset.more) || "";
      form.dataset.label = (button && button.dataset.yes) || "";
    }, { capture: true });
  }

  // -- steps --------------------------------------------------------------------------------------------------------
  const step = async () => {
    const steps = one("form[data-steps]");
    if (!steps) return;
    const button = one("button", steps);
    button.disabled = true;
    try {
      const answer = await fetch(steps.action, {
        method: "POST", body: new URLSearchParams(new FormData(steps)), redirect: "manual",
        credentials: "same-origin", headers: { Accept: "text/html" },
      });
      if (answer.type === "opaqueredirect") { location.replace(steps.dataset.back); return; }
      const fresh = answer.ok && one("form[data-steps]", new DOMParser().parseFromString(await answer.text(), "text/html"));
      if (!fresh) throw new Error(String(answer.status));
      steps.replaceWith(document.importNode(fresh, true));
      step();
    } catch {
      button.disabled = false;
      one("#steps-done", steps).append(" The server did not answer; try to go on.");
    }
  };
  step();
})();
