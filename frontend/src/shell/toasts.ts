// Short notes at the corner: from the page (a note left by the request before), from an htmx answer's HX-Trigger
// header, or from a script.
import { gettext } from "../messages";
import { visible } from "../visible";

export type Kind = "success" | "error" | "info";
const LINGER_MS = 6_000;

function holder(): HTMLElement {
  const found = document.getElementById("toasts");
  if (!found) throw new Error("the page has no place for notes");
  return found;
}

/** Show a note. Errors stay until they are closed; one that is there already is not said again. */
export function toast(text: string, kind: Kind = "info"): void {
  const shown = [...holder().querySelectorAll(".x-toast-text")];
  if (kind === "error" && shown.some((each) => each.textContent === visible(text))) return;
  const note = document.createElement("div");
  note.className = `x-toast x-toast-${kind}`;
  note.setAttribute("role", kind === "error" ? "alert" : "status");
  const words = document.createElement("div");
  words.className = "x-toast-text";
  words.textContent = visible(text);
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close";
  close.setAttribute("aria-label", gettext("Close"));
  note.append(words, close);
  holder().append(note);
  arm(note, kind);
}

function arm(note: HTMLElement, kind: string): void {
  note.querySelector("button")?.addEventListener("click", () => note.remove());
  if (kind !== "error") window.setTimeout(() => note.remove(), LINGER_MS);
}

export function startToasts(): void {
  for (const note of holder().querySelectorAll<HTMLElement>(".x-toast")) {
    arm(note, note.classList.contains("x-toast-error") ? "error" : "info");
  }
  document.body.addEventListener("toast", (event) => {
    const { text, kind } = (event as CustomEvent<{ text: string; kind: Kind }>).detail;
    toast(text, kind);
  });
  const silent = gettext("testum does not answer. Check the connection and try again.");
  document.body.addEventListener("htmx:sendError", () => toast(silent, "error"));
  document.body.addEventListener("htmx:afterOnLoad", () => {
    // It does again.
    for (const words of holder().querySelectorAll(".x-toast-text")) {
      if (words.textContent === silent) words.closest(".x-toast")?.remove();
    }
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    const { xhr } = (event as CustomEvent<{ xhr: XMLHttpRequest }>).detail;
    if (xhr.status === 401) return;
    const said = xhr.getResponseHeader("X-Message");
    toast(
      said ? decodeURIComponent(said) : gettext("That did not work (%(status)s).", { status: xhr.status }),
      "error",
    );
  });
}
