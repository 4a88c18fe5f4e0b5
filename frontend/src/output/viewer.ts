// The output viewer: what a task printed, by lines, live. Lines come from the lines API by their numbers; the WebSocket
// only says that there may be more. So nothing can be missing or come twice, whatever happens to the connection.
import { type State, Stream } from "../live/socket";
import { gettext, ngettext } from "../messages";
import { toast } from "../shell/toasts";
import { visible } from "../visible";
import { OutputApi, type Page, Refused } from "./api";
import { LineCache } from "./cache";
import { draw } from "./line";
import { icon } from "./parts";
import { keepInAddress, type Range, rangeOf } from "./picked";
import { Scroller } from "./scroller";
import { Search } from "./search";
import { load } from "./settings";
import { Toolbar } from "./toolbar";

export interface Opened {
  id: string;
  /** Whether to begin at the end: there it goes on. */
  atEnd: boolean;
  /** Seconds since 1970; relative times count from it. */
  started: number | null;
}

export interface Options {
  /** How the connection is. */
  onState?(state: State): void;
}

const TAIL = 200;
const POLL_MS = 250;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** The server says something every five seconds while a task runs. */
const QUIET_MS = 15_000;
const MOST_COPIED = 20_000;

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
      onChange: () => this.tell(),
      onGrowth: () => this.search.renew(),
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
      standing === "refused" ? visible(view.problem) : empty ? gettext("It printed nothing.") : "";
    if (this.note.textContent && !this.note.isConnected) this.holder.append(this.note);
    if (!this.note.textContent) this.note.remove();
  }
}

type Standing = "opening" | "counting" | State;

interface ViewEvents {
  onState(state: State): void;
  onChange(): void;
  onGrowth(): void;
}

/** One task's output in the viewer. */
class View {
  private readonly box = document.createElement("div");
  private readonly ring = document.createElement("div");
  private readonly cache: LineCache;
  private readonly scroller: Scroller;
  private readonly shown = new Map<number, unknown>();
  private stream: Stream | null = null;
  private preview: HTMLElement | null = null;
  private timer = 0;
  private wait = FIRST_WAIT_MS;
  private growing = false;
  private again = false;
  private closed = false;
  private streamState: State | null = null;
  private isBroken = false;
  private answered = false;
  private complete = false;
  private follows: boolean;
  private seenTotal = 0;
  private pickedFrom = 0;
  private current = 0;
  private goal = 0;
  private since: number;
  private hasEnded = false;
  total = 0;
  progress = 0;
  problem = "";

  constructor(
    task: Opened,
    private readonly api: OutputApi,
    holder: HTMLElement,
    private readonly settings: ReturnType<typeof load>,
    public range: Range | null,
    private readonly events: ViewEvents,
  ) {
    this.since = task.started === null ? 0 : task.started * 1_000;
    this.follows = task.atEnd && !range;
    this.goal = range?.first ?? 0;
    this.box.className = "x-printed";
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "region");
    this.box.setAttribute("aria-label", gettext("Output"));
    this.ring.className = "x-ring";
    holder.append(this.box, this.ring);
    this.cache = new LineCache(api, {
      onPage: (page) => this.accept(page),
      onBroken: () => this.setBroken(true),
      onRefused: (error) => this.refuse(error),
    });
    this.scroller = new Scroller(this.box, {
      draw: (number) => this.draw(number),
      onView: (first, last) => this.onView(first, last),
      onScroll: () => this.onScroll(),
    });
    this.box.addEventListener("click", (event) => this.onClick(event));
    this.restyle();
    if (range) this.reveal();
    void this.grow();
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.stream?.close();
    this.cache.close();
    this.scroller.close();
    this.box.remove();
    this.ring.remove();
  }

  get standing(): Standing {
    if (this.problem) return "refused";
    if (this.isBroken || this.streamState === "waiting") return "waiting";
    if (!this.answered) return "opening";
    if (!this.complete) return "counting";
    return this.hasEnded ? "ended" : "live";
  }

  get top(): number {
    return this.scroller.top;
  }

  get canJump(): boolean {
    return this.preview === null && this.total > 0 && !this.scroller.atEnd;
  }

  /** How many lines came since the reader left the end. */
  get fresh(): number {
    return this.hasEnded ? 0 : this.total - this.seenTotal;
  }

  /** Go to the end, and stay there as it grows. */
  follow(): void {
    this.follows = true;
    this.goal = 0;
    this.seenTotal = this.total;
    this.scroller.toEnd();
    this.events.onChange();
    this.box.focus({ preventScroll: true });
    this.reveal();
  }

  goTo(number: number): void {
    this.follows = false;
    const before = this.current;
    this.current = number;
    this.goal = this.total < number ? number : 0;
    this.scroller.show(number);
    for (const one of [before, number]) this.emphasize(one);
    this.seenTotal = this.total;
    this.events.onChange();
    this.reveal();
  }

  /** The page may be scrolled so that the viewer is not in view. */
  private reveal(): void {
    this.box.closest(".x-viewer")?.scrollIntoView({ block: "nearest" });
  }

  mark(query: Parameters<LineCache["mark"]>[0]): void {
    if (!query) {
      const before = this.current;
      this.current = 0;
      this.emphasize(before);
    }
    this.cache.mark(query);
  }

  restyle(): void {
    this.box.classList.toggle("x-no-numbers", !this.settings.numbers);
    this.shown.clear();
    this.scroller.redraw();
    this.scroller.setWrap(this.settings.wrap);
  }

  /** Pick lines; `go`: and bring them into view. */
  pick(range: Range | null, go: boolean): void {
    this.range = range;
    for (const number of this.scroller.numbers()) this.emphasize(number);
    if (range && go) {
      this.follows = false;
      this.goal = this.total < range.first ? range.first : 0;
      this.scroller.show(range.first);
      this.events.onChange();
      this.reveal();
    } else if (!go) keepInAddress(range);
  }

  pickAll(): void {
    if (this.total > 0) this.pick({ first: 1, last: this.total }, false);
  }

  /** Whether there are picked lines to copy, and no other selection. */
  copies(): boolean {
    return this.range !== null && (document.getSelection()?.isCollapsed ?? true);
  }

  async copy(): Promise<void> {
    const { first, last } = this.range ?? { first: 1, last: this.total };
    const end = Math.min(last, this.total);
    if (end - first + 1 > MOST_COPIED) {
      toast(
        gettext("That is too much to copy. Pick fewer lines by their numbers, or download the output."),
        "error",
      );
      return;
    }
    try {
      const texts: string[] = [];
      for (let next = first; next <= end; ) {
        const page = await this.api.page(next, Math.min(1_000, end - next + 1), null);
        if (page.lines.length === 0) break;
        for (const line of page.lines) texts.push(visible(line.text));
        next += page.lines.length;
      }
      await navigator.clipboard.writeText(texts.map((text) => `${text}\n`).join(""));
      toast(ngettext("%(num)s line was copied.", "%(num)s lines were copied.", texts.length), "success");
    } catch {
      toast(gettext("The browser does not allow copying here. Select the text and copy it."), "error");
    }
  }

  private draw(number: number): HTMLElement {
    const line = this.cache.get(number);
    this.shown.set(number, line);
    const row = draw(number, line, { times: this.settings.times, since: this.since });
    this.style(row, number);
    return row;
  }

  private emphasize(number: number): void {
    const row = this.scroller.element(number);
    if (row) this.style(row, number);
  }

  private style(row: HTMLElement, number: number): void {
    const { range } = this;
    row.classList.toggle("x-picked", range !== null && number >= range.first && number <= range.last);
    row.classList.toggle("x-current", number === this.current);
  }

  private onView(first: number, last: number): void {
    for (const number of this.shown.keys()) if (!this.scroller.element(number)) this.shown.delete(number);
    this.cache.want(first, last, this.total);
    if (this.scroller.atEnd) this.seenTotal = this.total;
    this.events.onChange();
  }

  private onScroll(): void {
    this.goal = 0;
    this.follows = this.scroller.atEnd;
    this.events.onChange();
  }

  private onClick(event: MouseEvent): void {
    const target = event.target instanceof Element ? event.target.closest<HTMLElement>(".x-number") : null;
    const number = Number(target?.closest<HTMLElement>("[data-number]")?.dataset.number ?? 0);
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const from = event.shiftKey && this.pickedFrom ? this.pickedFrom : number;
    this.pickedFrom = from;
    this.pick({ first: Math.min(from, number), last: Math.max(from, number) }, false);
  }

  /** Ask how much there is now. What is asked for meanwhile is asked for once, afterwards. */
  private async grow(): Promise<void> {
    if (this.growing) {
      this.again = true;
      return;
    }
    this.growing = true;
    window.clearTimeout(this.timer);
    try {
      do {
        this.again = false;
        this.cache.grew();
        const first = this.answered ? this.total + 1 : this.goal || 1;
        const page = this.follows
          ? await this.api.tail(TAIL, this.cache.query)
          : await this.api.page(first, this.answered ? 1 : TAIL, this.cache.query);
        if (this.closed) return;
        this.wait = FIRST_WAIT_MS;
        this.accept(page);
        if (!page.complete) this.later(POLL_MS);
        else if (!page.ended) this.listen();
      } while (this.again);
    } catch (error) {
      if (this.closed) return;
      if (error instanceof Refused) this.refuse(error);
      else {
        this.setBroken(true);
        this.later(this.wait);
        this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
      }
    } finally {
      this.growing = false;
    }
  }

  private later(milliseconds: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.grow(), milliseconds);
  }

  private listen(): void {
    this.stream ??= new Stream(
      `/ws/tasks/${this.api.taskId}?output=0`,
      0,
      (message) => {
        if (message.type !== "error") void this.grow();
      },
      (state) => {
        const wasLost = this.streamState === "waiting";
        this.streamState = state;
        if (state === "live" && wasLost) {
          this.cache.hurry();
          void this.grow();
        }
        if (state === "ended") void this.grow();
        this.events.onState(state);
        this.events.onChange();
      },
      QUIET_MS,
    );
  }

  private setBroken(broken: boolean): void {
    if (this.isBroken === broken) return;
    this.isBroken = broken;
    this.events.onState(broken ? "waiting" : (this.streamState ?? "ended"));
    this.events.onChange();
  }

  private refuse(error: unknown): void {
    this.problem = error instanceof Error ? error.message : String(error);
    this.stream?.close();
    this.events.onState("refused");
    this.events.onChange();
  }

  private accept(page: Page): void {
    this.answered = true;
    this.setBroken(false);
    this.progress = page.progress;
    this.complete = this.complete || page.complete;
    this.hasEnded = page.ended && page.complete;
    if (page.lines[0]?.number === null) {
      this.showPreview(page);
      return;
    }
    const grown = page.total > this.total;
    this.total = Math.max(this.total, page.total);
    if (!this.since && page.lines[0]) this.since = Date.parse(page.lines[0].ts);
    this.cache.put(page);
    this.box.style.setProperty("--x-digits", String(String(this.total).length));
    for (const number of this.scroller.numbers()) {
      if (this.cache.get(number) !== this.shown.get(number)) this.scroller.refresh(number);
    }
    this.scroller.setTotal(this.total);
    if (page.complete || !this.follows) this.endPreview();
    if (this.follows) {
      this.seenTotal = this.total;
      this.scroller.toEnd();
    } else if (this.goal && (this.total >= this.goal || page.complete)) {
      this.scroller.show(Math.min(this.goal, Math.max(this.total, 1)));
      this.goal = 0;
    }
    this.scroller.schedule();
    this.events.onChange();
    if (grown) this.events.onGrowth();
  }

  /** The last lines, before their numbers are known. */
  private showPreview(page: Page): void {
    const preview = document.createElement("div");
    preview.className = "x-lines-preview";
    preview.append(
      ...page.lines.map((line) => draw(null, line, { times: this.settings.times, since: this.since })),
    );
    this.endPreview();
    this.preview = preview;
    this.box.append(preview);
    this.box.scrollTop = this.box.scrollHeight;
    this.events.onChange();
  }

  private endPreview(): void {
    this.preview?.remove();
    this.preview = null;
  }
}
