// The list under the search box: arrows go through it, Escape closes it. htmx fetches it.
export function startSearch(): void {
  const box = document.querySelector<HTMLInputElement>("[data-search]");
  const list = document.getElementById("search-results");
  if (!box || !list) return;
  const links = (): HTMLAnchorElement[] => [...list.querySelectorAll("a")];
  const show = (open: boolean): void => {
    list.hidden = !open;
    box.setAttribute("aria-expanded", String(open));
  };
  list.addEventListener("htmx:afterSwap", () => show(list.childElementCount > 0));
  box.addEventListener("input", () => {
    if (!box.value.trim()) show(false);
  });
  document.addEventListener("click", (event) => {
    if (event.target instanceof Node && !box.form?.contains(event.target)) show(false);
  });
  box.form?.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      show(false);
      box.blur();
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const all: HTMLElement[] = [box, ...links()];
    const place = all.indexOf(document.activeElement as HTMLElement);
    const step = event.key === "ArrowDown" ? 1 : -1;
    all[(place + step + all.length) % all.length]?.focus();
    event.preventDefault();
  });
}
