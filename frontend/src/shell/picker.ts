// The run page: platforms that are ticked in the list become chips in the form, which stay when the list is filtered
// anew; the button says on how many it will run. Very many are one chip, a list of their ids.
import { gettext, ngettext } from "../messages";

/** The ids of all that are chosen. Lists of ids may overlap with one another and with the chips. */
function chosenIds(chips: HTMLElement): Set<string> {
  const ids = new Set<string>();
  for (const chip of chips.querySelectorAll<HTMLElement>("[data-chosen]")) ids.add(chip.dataset.chosen ?? "");
  for (const list of chips.querySelectorAll("textarea")) for (const id of idsOf(list)) ids.add(id);
  return ids;
}

function idsOf(list: HTMLTextAreaElement): string[] {
  return list.value.split(/\s+/).filter(Boolean);
}

/** Take one platform away, from its chip and from the lists that it is in. */
function unchoose(chips: HTMLElement, id: string): void {
  for (const chip of chips.querySelectorAll(`[data-chosen="${CSS.escape(id)}"]`)) chip.remove();
  for (const list of chips.querySelectorAll("textarea")) {
    const ids = idsOf(list);
    const left = ids.filter((each) => each !== id);
    if (left.length === ids.length) continue;
    const chip = list.closest(".x-chip");
    const words = list.nextElementSibling;
    list.value = left.join(" ");
    if (words) words.textContent = ngettext("%(num)s platform", "%(num)s platforms", left.length);
    if (!left.length) chip?.remove();
  }
}

function chip(id: string, name: string): HTMLElement {
  const made = document.createElement("span");
  made.className = "x-chip";
  made.dataset.chosen = id;
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name: "platform", value: id });
  const word = document.createElement("span");
  word.className = "x-name x-clip";
  word.textContent = name;
  const away = document.createElement("button");
  away.type = "button";
  away.dataset.unchoose = "";
  away.setAttribute("aria-label", gettext("Take %(name)s away", { name }));
  away.append(icon("x"));
  made.append(field, word, away);
  return made;
}

/** An icon of the sprite that the page uses already. */
function icon(name: string): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.classList.add("icon");
  made.setAttribute("aria-hidden", "true");
  const sprite = document.querySelector("svg use")?.getAttribute("href")?.split("#")[0] ?? "";
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${sprite}#${name}`);
  made.append(use);
  return made;
}

export function startPicker(): void {
  const chips = document.getElementById("chips");
  const button = document.querySelector<HTMLElement>("[data-run-button] span");
  if (!chips || !button) return;
  const filter = document.querySelector<HTMLFormElement>("#pick-filter");
  // The list is filtered alike when the form comes back with a question or a problem.
  chips.closest("form")?.addEventListener("formdata", (event) => {
    if (filter) for (const [name, value] of new FormData(filter)) event.formData.set(`filter_${name}`, value);
  });
  let before = Number.POSITIVE_INFINITY;
  const update = (): void => {
    const seen = new Set<string>();
    for (const each of chips.querySelectorAll<HTMLElement>("[data-chosen]")) {
      if (seen.has(each.dataset.chosen ?? "")) each.remove();
      seen.add(each.dataset.chosen ?? "");
    }
    const ids = chosenIds(chips);
    for (const box of document.querySelectorAll<HTMLInputElement>("[data-chip]")) {
      box.checked = ids.has(box.dataset.chip ?? "");
    }
    const number = ids.size;
    button.textContent = number
      ? ngettext("Run on %(num)s platform", "Run on %(num)s platforms", number)
      : gettext("Run");
    chips.classList.toggle("x-none", chips.childElementCount === 0);
    if (number > before) {
      chips.classList.remove("is-invalid");
      document.getElementById("platform-problem")?.remove();
    }
    before = number;
  };
  document.addEventListener("change", (event) => {
    const box = event.target instanceof HTMLInputElement ? event.target : null;
    const id = box?.dataset.chip;
    if (!box || id === undefined) return;
    if (box.checked) chips.append(chip(id, box.dataset.name ?? ""));
    else unchoose(chips, id);
    update();
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const leaving = target?.closest("[data-unchoose]")?.closest(".x-chip");
    if (leaving) {
      const beside = leaving.nextElementSibling ?? leaving.previousElementSibling;
      leaving.remove();
      // Whoever works with the keyboard goes on where they were.
      (beside?.querySelector<HTMLElement>("[data-unchoose]") ?? filter?.querySelector("input"))?.focus();
    } else if (target?.closest("[data-unchoose-all]")) chips.replaceChildren();
    else return;
    update();
  });
  document.body.addEventListener("htmx:afterSwap", update);
  update();
}
