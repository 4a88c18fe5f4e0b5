// Only where the theme is the system's: loaded before the first paint, so that nothing flashes.
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function apply(): void {
  document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light";
}

apply();
dark.addEventListener("change", apply);
