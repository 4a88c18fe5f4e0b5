// One task's output in the viewer. Lines come from the lines API by their numbers; the WebSocket only says that there may
// be more. So nothing can be missing or come twice, whatever happens to the connection.

import { Refused } from "../live/ask";
import { type State, Stream } from "../live/socket";
import { formatNumber, gettext, ngettext } from "../messages";
import { toast } from "../shell/toasts";
import { visible } from "../visible";
import { faultOf, type OutputApi, type Page } from "./api";
import { LineCache } from "./cache";
import { draw } from "./line";
import { keepInAddress, type Range } from "./line_range";
import { Scroller } from "./scroller";
import type { Settings } from "./settings";

export interface Opened {
  id: string;
  /** Whether to begin at the end: there it goes on. */
  atEnd: boolean;
  /** Seconds since 1970; relative times count from it. */
  started: number | null;
}

const TAIL = 200;
const POLL_MS = 250;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const MOST_COPIED = 20_000;

export type Standing = "opening" | "counting" | State;

export interface ViewEvents {
  onState(state: State): void;
  /** The task runs now. */
  onRunning(): void;
  onChange(): void;
  onGrowth(): void;
  /** Lines were picked: the address has them. */
  onPick(): void;
}

export class View {
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
    private readonly settings: Settings,
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
    if (range) this.events.onPick();
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
    row.classList.toggle("x-line-picked", range !== null && number >= range.first && number <= range.last);
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
        if (message.type === "status" && message.data.status === "running") this.events.onRunning();
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
    );
  }

  private setBroken(broken: boolean): void {
    if (this.isBroken === broken) return;
    this.isBroken = broken;
    this.events.onState(broken ? "waiting" : (this.streamState ?? "ended"));
    this.events.onChange();
  }

  private refuse(error: unknown): void {
    const said = error instanceof Error ? error.message : String(error);
    this.problem = (error instanceof Refused && faultOf(error.code)) || said;
    this.stream?.close();
    this.events.onState("refused");
    this.events.onChange();
  }

  private accept(page: Page): void {
    this.answered = true;
    this.problem ||= faultOf(page.error_code);
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
      if (this.goal > this.total && page.ended) {
        toast(gettext("There is no line %(line)s.", { line: formatNumber(this.goal) }), "error");
      }
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
