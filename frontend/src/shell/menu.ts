// The side menu: narrow or wide on a desktop (remembered in a cookie, so that the server draws it right), a drawer on
// a phone.
const YEAR = 365 * 86_400;

/** Keep a choice of this browser where the server sees it. */
export function remember(name: string, value: string): void {
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not in every browser that is served
  document.cookie = `${name}=${value}; Path=/; Max-Age=${YEAR}; SameSite=Lax`;
}

export function startMenu(): void {
  const shell = document.querySelector<HTMLElement>(".x-shell");
  if (!shell) return;
  const narrow = document.querySelector<HTMLButtonElement>("[data-menu-narrow]");
  narrow?.addEventListener("click", () => {
    const isNarrow = shell.classList.toggle("x-narrow");
    narrow.setAttribute("aria-expanded", String(!isNarrow));
    narrow.title = (isNarrow ? narrow.dataset.whenNarrow : narrow.dataset.whenWide) ?? "";
    const word = narrow.querySelector(".x-menu-word");
    if (word) word.textContent = narrow.title;
    remember("menu", isNarrow ? "narrow" : "wide");
  });

  const drawer = document.querySelector<HTMLElement>("#menu");
  const opener = document.querySelector<HTMLButtonElement>("[data-menu-open]");
  const show = (open: boolean): void => {
    shell.classList.toggle("x-menu-open", open);
    opener?.setAttribute("aria-expanded", String(open));
    if (open) drawer?.querySelector<HTMLElement>("a")?.focus();
    else opener?.focus();
  };
  opener?.addEventListener("click", () => show(!shell.classList.contains("x-menu-open")));
  document.querySelector("[data-menu-close]")?.addEventListener("click", () => show(false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shell.classList.contains("x-menu-open")) show(false);
  });
}
