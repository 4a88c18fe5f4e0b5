// Choosing rows: a box for each, one for all that are shown, and an offer to take all that match the filter.
import { ngettext } from "../messages";

function update(form: HTMLFormElement): void {
  const boxes = [...form.querySelectorAll<HTMLInputElement>("[data-pick]")];
  const chosen = boxes.filter((box) => box.checked).length;
  const all = form.querySelector<HTMLInputElement>("[data-pick-all]");
  const everything = form.querySelector<HTMLInputElement>("[name=everything]");
  const total = Number(form.querySelector<HTMLElement>("[data-total]")?.dataset.total ?? boxes.length);
  if (all) {
    all.checked = boxes.length > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  }
  const whole = everything?.value === "1" && all?.checked === true;
  if (everything && !whole) everything.value = "";
  const number = whole ? total : chosen;
  const bar = form.querySelector<HTMLElement>("[data-picked-bar]");
  if (bar) bar.hidden = number === 0;
  for (const place of form.querySelectorAll("[data-picked]")) {
    place.textContent = ngettext("%(num)s chosen", "%(num)s chosen", number);
  }
  const offer = form.querySelector<HTMLElement>("[data-pick-everything]");
  if (offer) offer.hidden = whole || !all?.checked || total <= boxes.length;
}

export function startSelection(): void {
  document.addEventListener("change", (event) => {
    const box = event.target instanceof HTMLInputElement ? event.target : null;
    const form = box?.form;
    if (!box || !form?.matches("[data-selection]")) return;
    if (box.matches("[data-pick-all]")) {
      for (const other of form.querySelectorAll<HTMLInputElement>("[data-pick]")) other.checked = box.checked;
    }
    update(form);
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const form = target?.closest<HTMLFormElement>("form[data-selection]");
    if (!form) return;
    if (target?.closest("[data-pick-everything]")) {
      const everything = form.querySelector<HTMLInputElement>("[name=everything]");
      if (everything) everything.value = "1";
      update(form);
    }
    if (target?.closest("[data-pick-none]")) {
      for (const box of form.querySelectorAll<HTMLInputElement>("[data-pick]")) box.checked = false;
      update(form);
    }
  });
  const renew = (): void => {
    for (const form of document.querySelectorAll<HTMLFormElement>("form[data-selection]")) update(form);
  };
  document.body.addEventListener("htmx:afterSwap", renew);
  // A page that the browser shows again from its history has its boxes as they were.
  window.addEventListener("pageshow", renew);
  renew();
}
