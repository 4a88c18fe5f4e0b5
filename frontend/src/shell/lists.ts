// Lists that are fetched anew beside their filter: whoever cannot see that hears that it is under way, another page
// begins at its top, and forms that come back to the list come back to what it shows now.

/** What htmx says of a request. */
interface Asked {
  elt: Element;
  target: HTMLElement;
}

function isList(target: HTMLElement): boolean {
  return target.matches(".x-results");
}

export function startLists(): void {
  // Gone from the document when their answer is there.
  const pagers = new WeakSet<Element>();
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, target } = (event as CustomEvent<Asked>).detail;
    if (isList(target)) target.setAttribute("aria-busy", "true");
    if (elt.closest("[data-pages]")) pagers.add(elt);
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const { target } = (event as CustomEvent<Asked>).detail;
    if (isList(target)) target.removeAttribute("aria-busy");
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const { target, requestConfig } = (event as CustomEvent<{ target: HTMLElement; requestConfig: Asked }>)
      .detail;
    if (!isList(target) || !pagers.has(requestConfig.elt)) return;
    // The link that was pressed is gone, and the focus with it.
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  });
  document.body.addEventListener("htmx:pushedIntoHistory", () => {
    for (const next of document.querySelectorAll<HTMLInputElement>(
      "form[action='/preferences'] [name=next]",
    )) {
      next.value = location.pathname + location.search;
    }
  });
}
