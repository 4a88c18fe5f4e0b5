// Part of a page that is fetched again and again: only what has changed is touched, so that nothing loses the focus,
// a selection or a button that is being pressed because something else has changed.
import { showTimes } from "../shell/times";

/** So long does a pointer that no longer moves keep what is under it in its place. */
const RESTS_MS = 30_000;

function keyOf(node: Node): string {
  return node instanceof HTMLElement ? (node.dataset.key ?? "") : "";
}

function bringAttributes(shown: Element, fresh: Element): void {
  for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
}

/** Make an element what the fresh one is. Children with a `data-key` are the same where it is, others where their
 * place and kind are; what is inside `data-keep` stays. */
function bring(shown: Element, fresh: Element): void {
  bringAttributes(shown, fresh);
  if (fresh.hasAttribute("data-keep")) return;
  const wanted = new Set([...fresh.children].map(keyOf));
  const known = new Map<string, ChildNode>();
  for (const child of [...shown.children]) {
    const key = keyOf(child);
    if (key && wanted.has(key)) known.set(key, child);
    // First of all, so that those that stay need not be moved: what is moved loses the focus.
    else if (key) child.remove();
  }
  let place = shown.firstChild;
  for (const node of [...fresh.childNodes]) {
    const key = keyOf(node);
    const fits = place !== null && place.nodeName === node.nodeName && !keyOf(place);
    const same = key ? (known.get(key) ?? null) : fits ? place : null;
    if (!same) {
      shown.insertBefore(node, place);
      continue;
    }
    // What stands before the one that is sought, and is nothing by itself, goes; what is known has its turn later.
    while (key && place && place !== same && !keyOf(place)) place = away(place);
    if (same === place) place = place.nextSibling;
    else shown.insertBefore(same, place);
    if (same instanceof Element && node instanceof Element) bring(same, node);
    else if (same.nodeValue !== node.nodeValue) same.nodeValue = node.nodeValue;
  }
  while (place) place = away(place);
}

/** Take a node away; the one after it. */
function away(node: ChildNode): ChildNode | null {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/** Keep a part of the page that htmx fetches as the server says it is. It is brought up to date as a whole, so that
 * its parts agree, and not while a pointer is on something in it that can be pressed. `done` is called afterwards. */
export function renew(root: HTMLElement, done: () => void): void {
  let waiting: string | null = null;
  let moved = 0;

  const settle = (): void => {
    if (waiting === null) return;
    if (Date.now() - moved < RESTS_MS && root.querySelector(":is(a, button):hover")) return;
    const page = new DOMParser().parseFromString(`<div>${waiting}</div>`, "text/html");
    const fresh = page.body.firstElementChild;
    waiting = null;
    if (!fresh) return;
    // As the page's script has written those that are shown.
    showTimes(fresh);
    for (const field of fresh.querySelectorAll<HTMLElement>("[data-new-job]")) {
      field.dataset.arrived = String(Date.now());
    }
    const focused = document.activeElement;
    const around = root.contains(focused) ? focused?.closest<HTMLElement>("[tabindex='-1']") : null;
    // The element itself is not of the answer, only what is in it.
    for (const { name, value } of root.attributes) fresh.setAttribute(name, value);
    bring(root, fresh);
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
