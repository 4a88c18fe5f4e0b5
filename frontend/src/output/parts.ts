// The small parts that the viewer's toolbar is made of.

/** An icon of the page's sprite, whose address the page tells. */
export function icon(name: string): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${document.body.dataset.icons ?? ""}#${name}`);
  made.append(use);
  return made;
}

/** A button with an icon; what it does is told to those who point at it, and to screen readers. */
export function button(name: string, title: string, press: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "btn btn-icon btn-sm x-tool";
  made.title = title;
  made.setAttribute("aria-label", title);
  made.append(icon(name));
  made.addEventListener("click", press);
  return made;
}

export function press(which: HTMLElement, pressed: boolean): void {
  which.setAttribute("aria-pressed", String(pressed));
}
