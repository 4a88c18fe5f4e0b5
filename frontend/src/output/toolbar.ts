// What the reader can do with an output: how it is shown, copied, downloaded.
import { gettext } from "../messages";
import { button, icon, press } from "./parts";
import type { Search } from "./search";
import { type Settings, save } from "./settings";

const TIMES: Settings["times"][] = ["none", "absolute", "relative"];

export interface Actions {
  /** The settings were changed. */
  onSettings(): void;
  onCopy(): void;
  onFullScreen(): void;
}

export class Toolbar {
  readonly element = document.createElement("div");
  private readonly numbers: HTMLButtonElement;
  private readonly times: HTMLButtonElement;
  private readonly wrap: HTMLButtonElement;
  private readonly full: HTMLButtonElement;
  private readonly links: HTMLAnchorElement[];

  constructor(
    search: Search,
    private readonly settings: Settings,
    private readonly actions: Actions,
  ) {
    this.element.className = "x-output-tools";
    this.numbers = button("list-numbers", gettext("Line numbers"), () => {
      settings.numbers = !settings.numbers;
      this.changed();
    });
    this.times = button("clock", "", () => {
      settings.times = TIMES[(TIMES.indexOf(settings.times) + 1) % TIMES.length] ?? "none";
      this.changed();
    });
    this.wrap = button("text-wrap", gettext("Wrap long lines"), () => {
      settings.wrap = !settings.wrap;
      this.changed();
    });
    const copy = button("copy", gettext("Copy the chosen lines, or all"), () => actions.onCopy());
    this.full = button("maximize", gettext("Full screen"), () => actions.onFullScreen());
    this.links = [link(gettext("As it was printed")), link(gettext("With the time before each line"))];
    const tools = document.createElement("div");
    tools.className = "x-tools";
    tools.setAttribute("role", "toolbar");
    tools.setAttribute("aria-label", gettext("How the output is shown"));
    tools.append(this.numbers, this.times, this.wrap, copy, this.downloads(), this.full);
    this.element.append(search.element, tools);
    this.show();
  }

  /** The addresses to download from. */
  open(raw: string, timestamps: string): void {
    const [first, second] = this.links;
    if (first) first.href = raw;
    if (second) second.href = timestamps;
  }

  setFull(full: boolean): void {
    press(this.full, full);
    this.full.querySelector("svg")?.replaceWith(icon(full ? "minimize" : "maximize"));
  }

  private downloads(): HTMLElement {
    const holder = document.createElement("div");
    holder.className = "dropdown";
    const opener = button("download", gettext("Download"), () => undefined);
    opener.dataset.bsToggle = "dropdown";
    opener.setAttribute("aria-expanded", "false");
    const menu = document.createElement("div");
    menu.className = "dropdown-menu dropdown-menu-end";
    menu.append(...this.links);
    holder.append(opener, menu);
    return holder;
  }

  private changed(): void {
    save(this.settings);
    this.show();
    this.actions.onSettings();
  }

  private show(): void {
    press(this.numbers, this.settings.numbers);
    press(this.wrap, this.settings.wrap);
    press(this.times, this.settings.times !== "none");
    const words: Record<Settings["times"], string> = {
      none: gettext("Times: none"),
      absolute: gettext("Times: of the day"),
      relative: gettext("Times: since the start"),
    };
    this.times.title = words[this.settings.times];
    this.times.setAttribute("aria-label", words[this.settings.times]);
  }
}

function link(text: string): HTMLAnchorElement {
  const made = document.createElement("a");
  made.className = "dropdown-item";
  made.setAttribute("download", "");
  made.textContent = text;
  return made;
}
