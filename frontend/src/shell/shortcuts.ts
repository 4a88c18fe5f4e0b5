// Keys that work everywhere: `/` search, `r` run, `?` help, and `g` with a letter to go to a page.
import { openDialog } from "./dialogs";

const PAGES: Record<string, string> = {
  d: "/",
  p: "/platforms",
  j: "/jobs",
  k: "/keys",
  a: "/audit",
  s: "/settings",
};
const CHORD_MS = 1_500;
let going = 0;

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

function press(key: string): boolean {
  const goesTo = Date.now() - going < CHORD_MS ? PAGES[key] : undefined;
  going = 0;
  if (goesTo) {
    // What the account may not see is not in the menu.
    document.querySelector<HTMLAnchorElement>(`#menu a[href="${goesTo}"]`)?.click();
    return true;
  }
  switch (key) {
    case "/":
      document.querySelector<HTMLInputElement>("[data-search]")?.focus();
      return true;
    case "r":
      document.querySelector<HTMLAnchorElement>("[data-run]")?.click();
      return true;
    case "?":
      openDialog("shortcuts");
      return true;
    case "g":
      going = Date.now();
      return true;
    default:
      return false;
  }
}

export function startShortcuts(): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    // By the place of the key where the layout has no Latin letters.
    const key = /^[\x20-\x7e]$/.test(event.key)
      ? event.key
      : (event.code.match(/^Key([A-Z])$/)?.[1] ?? "").toLowerCase();
    if (press(key)) event.preventDefault();
  });
}
