// Times in forms: the server writes and reads UTC; with this script the viewer's own zone is shown and written.
(() => {
  "use strict";
  const two = (number) => String(number).padStart(2, "0");
  const local = (moment) =>
    `${String(moment.getFullYear()).padStart(4, "0")}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
  const fields = [...document.querySelectorAll("input[data-moment]")];
  for (const field of fields) {
    const moment = new Date(`${field.defaultValue}Z`);
    // What a browser has put back after a reload is the viewer's own time already.
    const untouched = new Date(`${field.value}Z`).getTime() === moment.getTime(); // browsers leave seconds out that are 0
    if (field.defaultValue && untouched) field.value = local(moment);
    const label = document.querySelector(`label[for="${CSS.escape(field.id)}"] [data-zone]`);
    const name = zone.formatToParts(Number.isNaN(moment.getTime()) ? new Date() : moment).find((part) => part.type === "timeZoneName");
    if (label && name) label.textContent = `(${name.value})`;
  }
  document.addEventListener("formdata", (event) => {
    for (const field of fields) {
      const moment = new Date(field.value);
      if (field.form === event.target && field.value && !Number.isNaN(moment.getTime())) event.formData.set(field.name, moment.toISOString());
    }
  });
})();
