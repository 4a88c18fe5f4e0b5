// Small helpers of forms, bound by attributes: parts that show for one choice only, buttons that say that they work,
// text that can be copied, fields that are filled by a click.
import { gettext } from "../messages";
import { toast } from "./toasts";

/** Show `[data-for="name=value"]` only while the field of that name has that value. */
function showParts(root: ParentNode): void {
  for (const part of root.querySelectorAll<HTMLElement>("[data-for]")) {
    const [name, value] = (part.dataset.for ?? "=").split("=", 2);
    const form = part.closest("form");
    const chosen = form ? new FormData(form).get(name ?? "") : null;
    part.hidden = chosen !== value;
    for (const field of part.querySelectorAll<HTMLInputElement>("input, textarea, select")) {
      field.disabled = part.hidden;
    }
  }
}

async function copy(from: HTMLElement): Promise<void> {
  const source = document.getElementById(from.dataset.copy ?? "");
  try {
    await navigator.clipboard.writeText(source?.dataset.text ?? source?.textContent ?? "");
    toast(gettext("Copied."), "success");
  } catch {
    toast(gettext("The browser does not allow copying here. Select the text and copy it."), "error");
  }
}

export function startForms(): void {
  showParts(document);
  // What was sent and refused: on to the first field that must change.
  document
    .querySelector<HTMLElement>(
      "main [data-look-first], main [aria-invalid=true], .x-bare [aria-invalid=true]",
    )
    ?.focus();
  document.addEventListener("change", (event) => {
    const field = event.target instanceof HTMLElement ? event.target : null;
    const form = field?.closest("form");
    if (form) showParts(form);
    if (field?.matches("[data-submit]")) form?.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const button = event instanceof SubmitEvent ? event.submitter : null;
    if (event.defaultPrevented || !(button instanceof HTMLButtonElement)) return;
    // After the form was read: a disabled button would not go along.
    window.setTimeout(() => {
      button.classList.add("btn-loading");
      button.setAttribute("aria-busy", "true");
    }, 0);
  });
  // Back in the history, nothing is under way.
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll(".btn-loading")) {
      button.classList.remove("btn-loading");
      button.removeAttribute("aria-busy");
    }
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copier = target?.closest<HTMLElement>("[data-copy]");
    if (copier) void copy(copier);
    const filler = target?.closest<HTMLElement>("[data-fill]");
    if (filler) {
      const field = document.getElementById(filler.dataset.fill ?? "");
      if (field instanceof HTMLTextAreaElement || field instanceof HTMLInputElement) {
        field.value = filler.dataset.value ?? "";
        field.dispatchEvent(new Event("input", { bubbles: true }));
        field.focus();
      }
    }
  });
}
