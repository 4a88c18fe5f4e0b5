// Choosing rows: a box for each, one for all that are shown, and an offer to take all that match the filter.
import { gettext, ngettext } from "../messages";
import { toast } from "./toasts";

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
  const ids = form.querySelector<HTMLTextAreaElement>("[name=platforms]");
  const whole = everything?.value === "1" && all?.checked === true;
  if (everything && ids && !whole) everything.value = ids.value = "";
  const number = whole && ids ? ids.value.split(" ").length : chosen;
  const bar = form.querySelector<HTMLElement>("[data-picked-bar]");
  if (bar) bar.hidden = number === 0;
  for (const place of form.querySelectorAll("[data-picked]")) {
    place.textContent = ngettext("%(num)s chosen", "%(num)s chosen", number);
  }
  const offer = form.querySelector<HTMLElement>("[data-pick-everything]");
  if (offer) offer.hidden = whole || !all?.checked || total <= boxes.length;
}

/** Choose all that match the filter: those that do now, by their ids, because others may join before the act. */
async function pickEverything(form: HTMLFormElement): Promise<void> {
  const everything = form.querySelector<HTMLInputElement>("[name=everything]");
  const ids = form.querySelector<HTMLTextAreaElement>("[name=platforms]");
  if (!everything || !ids) return;
  const asked = new URLSearchParams();
  for (const name of ["q", "tag", "state"]) {
    asked.set(name, form.querySelector<HTMLInputElement>(`[name=${name}]`)?.value ?? "");
  }
  try {
    const answer = await fetch(`/platforms/matching?${asked}`);
    const found = await answer.text();
    if (!answer.ok || !answer.headers.get("content-type")?.startsWith("text/plain")) throw new Error(found);
    if (form.querySelector<HTMLInputElement>("[data-pick-all]")?.checked !== true || !found) return;
    everything.value = "1";
    ids.value = found;
    update(form);
  } catch {
    toast(
      gettext("They could not be chosen all at once. Narrow the filter, or load the page again."),
      "error",
    );
  }
}

/** A box that stands for all others of its group. */
function tick(box: HTMLInputElement): void {
  const group = box.closest("[data-ticks]");
  const all = group?.querySelector<HTMLInputElement>("[data-tick-all]");
  if (!group || !all) return;
  const others = [...group.querySelectorAll<HTMLInputElement>("input[type=checkbox]:not([data-tick-all])")];
  if (box === all) for (const other of others) other.checked = all.checked;
  all.checked = others.every((other) => other.checked);
  all.indeterminate = !all.checked && others.some((other) => other.checked);
}

export function startSelection(): void {
  document.addEventListener("change", (event) => {
    const box = event.target instanceof HTMLInputElement ? event.target : null;
    if (box) tick(box);
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
    if (target?.closest("[data-pick-everything]")) void pickEverything(form);
    if (target?.closest("[data-pick-none]")) {
      for (const box of form.querySelectorAll<HTMLInputElement>("[data-pick]")) box.checked = false;
      update(form);
    }
  });
  // A choice is of the rows that are shown: whoever goes on to others is told that it is gone.
  let given = 0;
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { target } = (event as CustomEvent<{ target: HTMLElement }>).detail;
    given = target.querySelectorAll("form[data-selection] [data-pick]:checked").length;
  });
  document.body.addEventListener("htmx:afterSwap", () => {
    if (given) toast(gettext("What you had chosen is not chosen any more: choose among what is shown now."));
    given = 0;
  });
  const renew = (): void => {
    for (const form of document.querySelectorAll<HTMLFormElement>("form[data-selection]")) update(form);
  };
  document.body.addEventListener("htmx:afterSwap", renew);
  // A page that the browser shows again from its history has its boxes as they were.
  window.addEventListener("pageshow", renew);
  renew();
}
