// The output viewer: what a task printed, by lines, live, with what a reader can do about it.
import type { State } from "../live/socket";
import { gettext, ngettext } from "../messages";
import { visible } from "../visible";
import { OutputApi } from "./api";
import { keepInAddress, rangeOf } from "./line_range";
import { icon } from "./parts";
import { Search } from "./search";
import { load } from "./settings";
import { Toolbar } from "./toolbar";
import { type Opened, type Standing, View } from "./view";

export interface Options {
  /** How the connection is. */
  onState?(state: State): void;
  /** The task runs now. */
  onRunning?(): void;
  /** Lines were picked by their numbers, which have an address. */
  onPick?(): void;
}

export class OutputViewer {
  private readonly settings = load();
  private readonly search: Search;
  private readonly toolbar: Toolbar;
  private readonly holder = document.createElement("div");
  private readonly status = document.createElement("div");
  private readonly line = document.createElement("span");
  private readonly count = document.createElement("span");
  private readonly jump = document.createElement("button");
  private readonly note = document.createElement("p");
  private view: View | null = null;
  private opened = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly options: Options = {},
  ) {
    root.classList.add("x-viewer");
    this.search = new Search({
      onQuery: (query) => this.view?.mark(query),
      onMatch: (number) => this.view?.goTo(number),
      top: () => this.view?.top ?? 1,
    });
    this.toolbar = new Toolbar(this.search, this.settings, {
      onSettings: () => this.view?.restyle(),
      onCopy: () => void this.view?.copy(),
      onFullScreen: () => this.toggleFull(),
    });
    this.holder.className = "x-lines-holder";
    this.jump.type = "button";
    this.jump.className = "btn btn-sm btn-primary x-jump";
    this.jump.hidden = true;
    this.jump.addEventListener("click", () => this.view?.follow());
    this.note.className = "x-output-note";
    this.status.className = "x-output-status";
    this.line.setAttribute("role", "status");
    this.status.append(this.line, this.count);
    root.append(this.toolbar.element, this.holder, this.status);
    document.addEventListener("fullscreenchange", () => this.toolbar.setFull(this.isFull));
    root.addEventListener("keydown", (event) => this.onKey(event));
    window.addEventListener("hashchange", () => {
      const range = rangeOf(location.hash);
      if (range) this.view?.pick(range, true);
    });
  }

  /** Show a task's output from now on. */
  open(task: Opened): void {
    this.close();
    const range = this.opened ? null : rangeOf(location.hash);
    if (this.opened && rangeOf(location.hash)) keepInAddress(null);
    this.opened = true;
    const api = new OutputApi(task.id);
    this.toolbar.open(api.download(false), api.download(true));
    this.view = new View(task, api, this.holder, this.settings, range, {
      onState: (state) => this.options.onState?.(state),
      onRunning: () => this.options.onRunning?.(),
      onChange: () => this.tell(),
      onGrowth: () => this.search.renew(),
      onPick: () => this.options.onPick?.(),
    });
    this.search.open(api);
    this.tell();
  }

  /** Show nothing more. */
  close(): void {
    this.view?.close();
    this.view = null;
    this.search.close();
    this.holder.replaceChildren();
  }

  private get isFull(): boolean {
    return document.fullscreenElement === this.root || this.root.classList.contains("x-full");
  }

  private toggleFull(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.root.requestFullscreen && !this.root.classList.contains("x-full")) {
      this.root.requestFullscreen().catch(() => this.fill());
    } else this.fill();
  }

  /** Where the browser gives no full screen, the window is filled. */
  private fill(): void {
    this.root.classList.toggle("x-full");
    this.toolbar.setFull(this.isFull);
  }

  private onKey(event: KeyboardEvent): void {
    const inLines = event.target instanceof Element && event.target.closest(".x-printed") !== null;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "f") this.search.focus();
    else if (inLines && !command && !event.altKey && event.key === "/") this.search.focus();
    else if (inLines && command && event.key.toLowerCase() === "a") this.view?.pickAll();
    else if (inLines && command && event.key.toLowerCase() === "c" && this.view?.copies())
      void this.view.copy();
    else if (event.key === "Escape" && this.root.classList.contains("x-full")) this.fill();
    else if (inLines && event.key === "Escape" && this.view?.range) this.view.pick(null, false);
    else return;
    event.preventDefault();
  }

  /** Say how it stands. */
  private tell(): void {
    const view = this.view;
    if (!view) return;
    const words: Record<Standing, string> = {
      opening: gettext("Opening ..."),
      counting: gettext("Counting lines: %(percent)s", { percent: `${Math.floor(view.progress * 100)} %` }),
      live: gettext("live"),
      waiting: gettext("The connection is lost; trying again ..."),
      ended: gettext("ended"),
      refused: visible(view.problem),
    };
    const standing = view.standing;
    if (this.line.dataset.state !== standing || standing === "counting") {
      this.line.dataset.state = standing;
      this.line.className = "x-line";
      this.line.textContent = words[standing];
    }
    this.count.textContent = ngettext("%(num)s line", "%(num)s lines", view.total);
    const fresh = view.fresh;
    this.jump.hidden = !view.canJump;
    this.jump.replaceChildren(
      icon("arrow-bar-to-down"),
      fresh > 0 ? ngettext("%(num)s new line", "%(num)s new lines", fresh) : gettext("To the end"),
    );
    if (!this.jump.isConnected) this.holder.append(this.jump);
    const empty = view.total === 0 && standing === "ended";
    this.note.textContent =
      standing === "refused" && view.total === 0
        ? visible(view.problem)
        : empty
          ? gettext("It printed nothing.")
          : "";
    if (this.note.textContent && !this.note.isConnected) this.holder.append(this.note);
    if (!this.note.textContent) this.note.remove();
  }
}
