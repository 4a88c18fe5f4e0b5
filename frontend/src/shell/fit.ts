// Parts that take what the window has left below them: what grows at their end is then in view.

const LEAST_PX = 384;
const BELOW_PX = 48;

/** Tell the element's style sheet how high it can be (`--x-fit`), now and whenever what is above it changes. */
export function fitToWindow(element: HTMLElement): void {
  const fit = (): void => {
    const top = element.getBoundingClientRect().top + window.scrollY;
    const height = Math.max(LEAST_PX, Math.floor(window.innerHeight - top - BELOW_PX));
    element.style.setProperty("--x-fit", `${height}px`);
  };
  fit();
  new ResizeObserver(fit).observe(document.body);
  window.addEventListener("resize", fit);
}
