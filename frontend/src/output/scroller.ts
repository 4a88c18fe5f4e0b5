// A scrolled list of numbered lines of which only those in view are in the page. The browser scrolls; where all lines
// together are higher than browsers allow, or lines differ in height, small movements go by pixels and large ones
// (a dragged scroll bar) by their share of the whole.

/** Browsers stop at 16 to 33 million pixels. */
const MOST_PX = 8_000_000;
const OVERSCAN_PX = 600;
const SETTLE_MS = 150;
const AT_END_PX = 4;

export interface Lines {
  /** The element of a line; called again for one that `refresh` was told of. */
  draw(number: number): HTMLElement;
  /** These lines are in view now. */
  onView(first: number, last: number): void;
  /** The reader scrolled. */
  onScroll(): void;
}

export class Scroller {
  private readonly space = document.createElement("div");
  private readonly body = document.createElement("div");
  private readonly drawn = new Map<number, HTMLElement>();
  private readonly heights = new Map<number, number>();
  private readonly resized: ResizeObserver;
  private total = 0;
  private wraps = false;
  private lineHeight = 18;
  private averageHeight = 18;
  /** The line at the top, and how many of its pixels are above. */
  private row = 1;
  private offset = 0;
  private lastTop = 0;
  private width = 0;
  private scheduled = false;
  private settling = 0;

  constructor(
    private readonly box: HTMLElement,
    private readonly lines: Lines,
  ) {
    this.space.className = "x-lines-space";
    this.body.className = "x-lines-body";
    this.space.append(this.body);
    box.append(this.space);
    box.addEventListener("scroll", () => this.onScroll(), { passive: true });
    box.addEventListener("keydown", (event) => this.onKey(event));
    this.resized = new ResizeObserver(() => this.onResize());
    this.resized.observe(box);
  }

  /** How many lines there are. */
  setTotal(total: number): void {
    if (total === this.total) return;
    this.total = total;
    this.schedule();
  }

  setWrap(wraps: boolean): void {
    this.wraps = wraps;
    this.body.classList.toggle("x-wraps", wraps);
    this.forget();
  }

  /** All lines look different now. */
  redraw(): void {
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.forget();
  }

  /** A line looks different now. */
  refresh(number: number): void {
    const old = this.drawn.get(number);
    if (!old) return;
    const made = this.lines.draw(number);
    old.replaceWith(made);
    this.drawn.set(number, made);
    this.heights.delete(number);
  }

  /** The line's element, where it is in the page. */
  element(number: number): HTMLElement | undefined {
    return this.drawn.get(number);
  }

  /** The numbers of the lines that are in the page. */
  numbers(): Iterable<number> {
    return this.drawn.keys();
  }

  /** The line at the top. */
  get top(): number {
    return this.row;
  }

  get atEnd(): boolean {
    let below = -this.offset;
    for (let number = this.row; number <= this.total; number++) {
      below += this.height(number);
      if (below > this.box.clientHeight + AT_END_PX) return false;
    }
    return true;
  }

  /** Whether the whole line is in view. */
  shows(number: number): boolean {
    if (number < this.row || (number === this.row && this.offset > 1)) return false;
    let bottom = -this.offset;
    for (let row = this.row; row <= number; row++) {
      bottom += this.height(row);
      if (bottom > this.box.clientHeight) return false;
    }
    return true;
  }

  /** Bring a line into the middle, unless it is in view. */
  show(number: number): void {
    if (this.shows(number)) return;
    this.row = Math.max(1, Math.min(number, Math.max(this.total, 1)));
    this.offset = -(this.box.clientHeight - this.height(this.row)) / 2;
    this.normalize();
    this.schedule();
  }

  toStart(): void {
    this.row = 1;
    this.offset = 0;
    this.schedule();
  }

  toEnd(): void {
    this.goToEnd();
    this.schedule();
  }

  close(): void {
    this.resized.disconnect();
    window.clearTimeout(this.settling);
    this.space.remove();
  }

  /** Draw before the next frame. */
  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.render();
    });
  }

  private forget(): void {
    this.heights.clear();
    const ended = this.atEnd;
    this.averageHeight = this.lineHeight;
    if (ended) this.goToEnd();
    this.schedule();
  }

  private get isExact(): boolean {
    return !this.wraps && this.total * this.lineHeight <= MOST_PX;
  }

  private get spaceHeight(): number {
    return Math.min(MOST_PX, Math.ceil(this.total * (this.wraps ? this.averageHeight : this.lineHeight)));
  }

  private height(number: number): number {
    return this.wraps ? (this.heights.get(number) ?? this.averageHeight) : this.lineHeight;
  }

  private goToEnd(): void {
    let number = Math.max(this.total, 1);
    let filled = this.height(number);
    while (filled < this.box.clientHeight && number > 1) {
      number--;
      filled += this.height(number);
    }
    this.row = number;
    this.offset = Math.max(0, filled - this.box.clientHeight);
  }

  private normalize(): void {
    while (this.offset < 0 && this.row > 1) {
      this.row--;
      this.offset += this.height(this.row);
    }
    if (this.offset < 0) this.offset = 0;
    while (this.row < this.total && this.offset >= this.height(this.row)) {
      this.offset -= this.height(this.row);
      this.row++;
    }
    if (this.row > this.total || this.atEnd) this.goToEnd();
  }

  private onScroll(): void {
    const top = this.box.scrollTop;
    const moved = top - this.lastTop;
    if (Math.abs(moved) < 0.5) return;
    this.lastTop = top;
    const range = this.box.scrollHeight - this.box.clientHeight;
    if (this.isExact) {
      this.row = Math.floor(top / this.lineHeight) + 1;
      this.offset = top % this.lineHeight;
      // Lines may have come that the bar does not know of yet: its end is their end all the same.
      if (moved > 0 && top >= range - 1) this.goToEnd();
    } else if (Math.abs(moved) < 1.5 * this.box.clientHeight) {
      this.offset += moved;
      this.normalize();
      // Where the bar is at its end and the lines are not, it must not stop the reader.
      if (top <= 0 || top >= range - 1) this.settle();
    } else {
      const place = (top / Math.max(range, 1)) * this.farthest();
      this.row = Math.floor(place) + 1;
      this.offset = (place % 1) * this.height(this.row);
      this.normalize();
    }
    this.schedule();
    if (!this.isExact) {
      window.clearTimeout(this.settling);
      this.settling = window.setTimeout(() => this.settle(), SETTLE_MS);
    }
    this.lines.onScroll();
  }

  /** How many lines are above the top when the end is in view, roughly. */
  private farthest(): number {
    return Math.max(
      0,
      this.total - this.box.clientHeight / (this.wraps ? this.averageHeight : this.lineHeight),
    );
  }

  /** Put the scroll bar where the lines are. */
  private settle(): void {
    // The reader may have scrolled on, and the browser not have told of it yet.
    this.onScroll();
    this.place();
    this.render();
  }

  private place(): void {
    const range = Math.max(0, this.spaceHeight - this.box.clientHeight);
    let top: number;
    if (this.isExact) top = (this.row - 1) * this.lineHeight + this.offset;
    else if (this.atEnd) top = range;
    else {
      const share = (this.row - 1 + this.offset / this.height(this.row)) / Math.max(this.farthest(), 1);
      // Neither end of the bar, unless it is the end of the lines.
      top = Math.min(Math.max(share * range, this.row > 1 || this.offset > 0 ? 1 : 0), range - 2);
    }
    if (Math.abs(this.box.scrollTop - top) >= 1) this.box.scrollTop = top;
    this.lastTop = this.box.scrollTop;
  }

  private onResize(): void {
    const atEnd = this.atEnd;
    if (this.box.clientWidth !== this.width) {
      this.width = this.box.clientWidth;
      this.heights.clear();
    }
    if (atEnd) this.goToEnd();
    this.schedule();
  }

  private onKey(event: KeyboardEvent): void {
    if (event.target !== this.box || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = this.box.clientHeight - this.lineHeight;
    const moves: Record<string, number> = {
      ArrowDown: this.lineHeight,
      ArrowUp: -this.lineHeight,
      PageDown: page,
      PageUp: -page,
      " ": event.shiftKey ? -page : page,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    if (move === Number.NEGATIVE_INFINITY) this.toStart();
    else if (move === Number.POSITIVE_INFINITY) this.toEnd();
    else {
      this.offset += move;
      this.normalize();
      this.schedule();
    }
    this.lines.onScroll();
  }

  private render(): void {
    if (this.box.clientHeight === 0) return;
    this.measureLine();
    this.space.style.height = `${this.spaceHeight}px`;
    const follows = this.row > this.total || this.atEnd;
    if (follows) this.goToEnd();
    this.place();
    let first = this.row;
    let last = this.row;
    for (let pass = 0; pass < 4; pass++) {
      [first, last] = this.extent();
      this.attach(first, last);
      if (!this.wraps || !this.measure(first, last)) break;
      // Heights were guessed wrong: what is at the end stays there.
      if (follows) this.goToEnd();
      else this.normalize();
    }
    let above = this.offset;
    for (let number = first; number < this.row; number++) above += this.height(number);
    this.body.style.transform = `translateY(${this.box.scrollTop - above}px)`;
    let seen = this.row;
    let bottom = this.height(this.row) - this.offset;
    while (seen < last && bottom < this.box.clientHeight) {
      seen++;
      bottom += this.height(seen);
    }
    this.lines.onView(this.row, Math.min(seen, this.total));
  }

  /** The lines to draw: those in view, and some around them. */
  private extent(): [number, number] {
    let first = this.row;
    let above = 0;
    while (first > 1 && above < OVERSCAN_PX) {
      first--;
      above += this.height(first);
    }
    let last = this.row;
    let below = this.height(last) - this.offset;
    while (last < this.total && below < this.box.clientHeight + OVERSCAN_PX) {
      last++;
      below += this.height(last);
    }
    return [first, Math.min(last, this.total)];
  }

  /** Elements that stay are not touched: a selection of text in them stays, too. */
  private attach(first: number, last: number): void {
    for (const [number, element] of this.drawn) {
      if (number >= first && number <= last) continue;
      element.remove();
      this.drawn.delete(number);
    }
    let before: Element | null = null;
    for (let number = first; number <= last; number++) {
      let element = this.drawn.get(number);
      if (!element) {
        element = this.lines.draw(number);
        this.drawn.set(number, element);
        if (before) before.after(element);
        else this.body.prepend(element);
      }
      before = element;
    }
  }

  /** Look how high the lines are; whether any is not as it was taken to be. */
  private measure(first: number, last: number): boolean {
    let changed = false;
    let sum = 0;
    for (let number = first; number <= last; number++) {
      const height = this.drawn.get(number)?.offsetHeight ?? 0;
      sum += height;
      if (!height || this.heights.get(number) === height) continue;
      if (this.height(number) !== height) changed = true;
      this.heights.set(number, height);
    }
    if (this.heights.size > 5_000) this.heights.clear();
    if (last >= first) this.averageHeight = Math.max(this.lineHeight, sum / (last - first + 1));
    return changed;
  }

  private measureLine(): void {
    const height = Number.parseFloat(getComputedStyle(this.body).lineHeight);
    if (!height || height === this.lineHeight) return;
    this.lineHeight = height;
    this.heights.clear();
    if (!this.wraps) this.averageHeight = height;
  }
}
