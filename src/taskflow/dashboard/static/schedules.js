// The next runs of a rule, shown while it is written. Without this there is a button that shows them.
(() => {
  "use strict";
  const form = document.querySelector("[data-schedule-form]");
  const shown = document.getElementById("preview");
  if (!form || !shown) return;
  form.querySelector("[data-look]").hidden = true;
  const PAUSE = 350;
  let timer = 0;
  let asked = 0;

  const look = async () => {
    const number = ++asked;
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin" });
      if (!answer.ok || answer.redirected || number !== asked) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const wrong = page.querySelector("#spec-error, #timezone-error");
      shown.replaceChildren(...(wrong ? [wrong] : document.importNode(page.getElementById("preview"), true).childNodes));
    } catch { /* the button of the form says what is wrong */ }
  };

  const soon = () => { clearTimeout(timer); timer = setTimeout(() => { if (form.elements.spec.value.trim()) look(); else shown.replaceChildren(); }, PAUSE); };
  form.elements.spec.addEventListener("input", soon);
  form.elements.timezone.addEventListener("input", soon);
  if (form.elements.spec.value && !shown.childElementCount) look();
})();
