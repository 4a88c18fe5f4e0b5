// Parts of a page that are fetched or drawn again and again: only what has changed is touched, so that nothing loses
// the focus, a selection or a button that is being pressed because something else has changed.
import { Idiomorph } from "idiomorph";
import { showTimes } from "../shell/times";

/** So long does a pointer that no longer moves keep what is under it in its place. */
const RESTS_MS = 30_000;

/** Whether an element may become another: what `data-keep` is on stays. */
function isOpen(shown: Node): boolean {
  return !(shown instanceof HTMLElement && "keep" in shown.dataset);
}

/** Give an element these children, as `replaceChildren` does; those that are there already become them. None may have
 * a style of its own: the page's policy forbids to set it as an attribute (CSP, style-src-attr). */
export function redraw(element: Element, children: Node[]): void {
  Idiomorph.morph(element, children, { morphStyle: "innerHTML" });
}

/** Keep a part of the page that htmx fetches as the server says it is. It is brought up to date as a whole, so that
 * its parts agree, and not while a pointer is on something in it that can be pressed. `done` is called afterwards. */
export function renew(root: HTMLElement, done: () => void): void {
  let waiting: string | null = null;
  let moved = 0;

  const settle = (): void => {
    if (waiting === null) return;
    if (Date.now() - moved < RESTS_MS && root.querySelector(":is(a, button):hover")) return;
    const fresh = new DOMParser().parseFromString(waiting, "text/html").body;
    waiting = null;
    // As the page's script has written those that are shown.
    showTimes(fresh);
    for (const field of fresh.querySelectorAll<HTMLElement>("[data-new-job]")) {
      field.dataset.arrived = String(Date.now());
    }
    const focused = document.activeElement;
    const around = root.contains(focused) ? focused?.closest<HTMLElement>("[tabindex='-1']") : null;
    Idiomorph.morph(root, [...fresh.childNodes], {
      morphStyle: "innerHTML",
      callbacks: { beforeNodeMorphed: isOpen },
    });
    if (around && focused instanceof HTMLElement && document.activeElement !== focused) {
      // What had the focus was moved, or is gone: then the list that it was in has it.
      (focused.isConnected ? focused : around).focus({ preventScroll: true });
    }
    done();
  };

  const note = (): void => {
    moved = Date.now();
    settle();
  };
  for (const event of ["pointermove", "pointerdown", "pointerover"]) document.addEventListener(event, note);
  root.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event as CustomEvent<{ shouldSwap: boolean; serverResponse: string }>;
    if (!detail.shouldSwap) return;
    detail.shouldSwap = false;
    waiting = detail.serverResponse;
    settle();
  });
}
