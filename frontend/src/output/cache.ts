// The lines around where the reader is: fetched when they are wanted, ahead of the reader, and let go when far away.
import type { Line, OutputApi, Page, Query } from "./api";

const MOST_LINES = 6_000;
const MOST_CHARACTERS = 4_000_000;
/** Lines that are asked for at once. */
const BATCH = 200;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10_000;

export interface CacheEvents {
  /** An answer came: its lines can be had now. */
  onPage(page: Page): void;
  /** An answer did not come; it is asked again after a while. */
  onBroken(): void;
  onRefused(error: unknown): void;
}

export class LineCache {
  private readonly lines = new Map<number, Line>();
  /** Shown as they are until they come anew: open lines that grew, marks of another search. */
  private readonly stale = new Set<number>();
  private characters = 0;
  private first = 1;
  private last = 0;
  private total = 0;
  private fetching: { first: number; last: number; abort: AbortController } | null = null;
  private timer = 0;
  private wait = FIRST_WAIT_MS;
  private closed = false;

  constructor(
    private readonly api: OutputApi,
    private readonly events: CacheEvents,
    public query: Query | null = null,
  ) {}

  get(number: number): Line | undefined {
    return this.lines.get(number);
  }

  /** These lines can be seen; those around them will be, soon. */
  want(first: number, last: number, total: number): void {
    this.first = first;
    this.last = last;
    this.total = total;
    const now = this.fetching;
    // What is under way is of no use where the reader has gone elsewhere.
    if (now && (now.last < first - BATCH || now.first > last + BATCH)) {
      now.abort.abort();
      this.fetching = null;
    }
    this.pump();
  }

  /** Another search: what is shown stays until it comes with the new marks. */
  mark(query: Query | null): void {
    this.query = query;
    this.fetching?.abort.abort();
    this.fetching = null;
    for (const number of this.lines.keys()) this.stale.add(number);
    this.pump();
  }

  /** Lines that came otherwise. */
  put(page: Page): void {
    for (const line of page.lines) {
      if (line.number === null) continue;
      this.drop(line.number);
      this.lines.set(line.number, line);
      this.characters += line.text.length;
    }
    this.trim();
  }

  /** There may be more output: open lines may have grown. */
  grew(): void {
    for (const [number, line] of this.lines) if (line.open) this.stale.add(number);
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.fetching?.abort.abort();
  }

  private drop(number: number): void {
    const line = this.lines.get(number);
    if (line) this.characters -= line.text.length;
    this.lines.delete(number);
    this.stale.delete(number);
  }

  /** Let go of what is farthest away. */
  private trim(): void {
    if (this.lines.size <= MOST_LINES && this.characters <= MOST_CHARACTERS) return;
    const middle = (this.first + this.last) / 2;
    const byDistance = [...this.lines.keys()].sort((a, b) => Math.abs(b - middle) - Math.abs(a - middle));
    for (const number of byDistance) {
      if (this.lines.size <= MOST_LINES / 2 && this.characters <= MOST_CHARACTERS / 2) break;
      if (number < this.first || number > this.last) this.drop(number);
    }
  }

  private pump(): void {
    if (this.closed || this.fetching || this.timer) return;
    const run = this.missing(this.first, this.last) ?? this.ahead();
    if (run) void this.fetch(...run);
  }

  /** The first lines of these that are not there, as a run. */
  private missing(first: number, last: number): [number, number] | null {
    for (let number = Math.max(first, 1); number <= Math.min(last, this.total); number++) {
      if (this.lines.has(number) && !this.stale.has(number)) continue;
      return [number, Math.min(number + BATCH - 1, this.total)];
    }
    return null;
  }

  /** What the reader comes to next, below and then above. */
  private ahead(): [number, number] | null {
    const span = Math.max(this.last - this.first + 1, 50);
    const below = this.missing(this.last + 1, this.last + span);
    if (below) return below;
    const above = this.missing(this.first - span, this.first - 1);
    return above ? [Math.max(1, above[1] - BATCH + 1, above[0] - span), above[1]] : null;
  }

  private async fetch(first: number, last: number): Promise<void> {
    const abort = new AbortController();
    const mine = { first, last, abort };
    this.fetching = mine;
    let page: Page;
    try {
      page = await this.api.page(first, Math.min(last - first + 1, BATCH), this.query, abort.signal);
    } catch (error) {
      if (this.fetching !== mine || this.closed) return;
      this.fetching = null;
      if (error instanceof Error && "status" in error) this.events.onRefused(error);
      else {
        this.events.onBroken();
        this.later();
      }
      return;
    }
    if (this.fetching !== mine || this.closed) return;
    this.fetching = null;
    this.wait = FIRST_WAIT_MS;
    for (let number = first; number <= last; number++) this.stale.delete(number);
    this.put(page);
    this.events.onPage(page);
    if (page.lines.length === 0) this.later();
    else this.pump();
  }

  private later(): void {
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.pump();
    }, this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  /** The connection is back: do not wait any longer. */
  hurry(): void {
    window.clearTimeout(this.timer);
    this.timer = 0;
    this.wait = FIRST_WAIT_MS;
    this.pump();
  }
}
