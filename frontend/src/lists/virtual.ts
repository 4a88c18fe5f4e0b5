// A list of any length of which only what can be seen is in the page. Rows are equally high. The keyboard goes through
// it as through any list box: arrows, page keys, Home and End.

import { redraw } from "../live/renew";

export interface Rows<Row> {
  /** What the row is known by, also as part of an element's id. */
  key(row: Row): string;
  /** What the row shows. */
  draw(row: Row, into: HTMLElement): void;
  /** Called when a row was chosen. */
  choose(row: Row): void;
}

const MARGIN = 6;

export class VirtualList<Row> {
  private rows: readonly Row[] = [];
  private readonly body = document.createElement("div");
  private chosen = "";
  private scheduled = false;

  constructor(
    private readonly box: HTMLElement,
    private readonly height: number,
    private readonly of: Rows<Row>,
  ) {
    this.body.className = "x-virtual-body";
    this.body.setAttribute("role", "presentation");
    box.append(this.body);
    box.addEventListener("scroll", () => this.schedule());
    box.addEventListener("keydown", (event) => this.onKey(event));
    box.addEventListener("click", (event) => {
      const element =
        event.target instanceof Element ? event.target.closest<HTMLElement>("[data-index]") : null;
      const row = element ? this.rows[Number(element.dataset.index)] : undefined;
      if (row !== undefined) this.choose(row);
    });
    new ResizeObserver(() => this.schedule()).observe(box);
  }

  /** Show these rows; where the list was scrolled to stays. */
  show(rows: readonly Row[]): void {
    this.rows = rows;
    this.body.style.height = `${rows.length * this.height}px`;
    this.draw();
  }

  /** Draw what can be seen again: its rows have changed. */
  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  /** Mark a row as the chosen one, and bring it into view. */
  select(key: string, reveal = true): void {
    this.chosen = key;
    const index = this.rows.findIndex((row) => this.of.key(row) === key);
    if (reveal && index >= 0) this.reveal(index);
    this.draw();
  }

  private choose(row: Row): void {
    this.select(this.of.key(row));
    this.of.choose(row);
  }

  private reveal(index: number): void {
    const top = index * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + this.height - this.box.clientHeight;
    if (bottom > this.box.scrollTop) this.box.scrollTop = bottom;
  }

  private onKey(event: KeyboardEvent): void {
    const now = this.rows.findIndex((row) => this.of.key(row) === this.chosen);
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
    const steps: Record<string, number> = {
      ArrowDown: now + 1,
      ArrowUp: now - 1,
      PageDown: now + page,
      PageUp: now - page,
      Home: 0,
      End: this.rows.length - 1,
    };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const row = this.rows[Math.max(0, Math.min(this.rows.length - 1, to))];
    if (row !== undefined) this.choose(row);
  }

  private draw(): void {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - MARGIN);
    const last = Math.min(
      this.rows.length,
      Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + MARGIN,
    );
    const drawn: HTMLElement[] = [];
    // A row that stays is the same element: one that was replaced while it was pressed would not be clicked.
    const there = new Map([...this.body.children].map((element) => [element.id, element as HTMLElement]));
    let active = "";
    for (let index = first; index < last; index++) {
      const row = this.rows[index] as Row;
      const key = this.of.key(row);
      const element = there.get(`row-${key}`) ?? document.createElement("div");
      there.delete(`row-${key}`);
      element.className = "x-row";
      element.id = `row-${key}`;
      element.dataset.index = String(index);
      element.setAttribute("role", "option");
      element.setAttribute("aria-selected", String(key === this.chosen));
      element.setAttribute("aria-setsize", String(this.rows.length));
      element.setAttribute("aria-posinset", String(index + 1));
      element.style.height = `${this.height}px`;
      element.style.transform = `translateY(${index * this.height}px)`;
      const content = document.createElement("div");
      this.of.draw(row, content);
      redraw(element, [...content.childNodes]);
      if (key === this.chosen) active = element.id;
      drawn.push(element);
    }
    for (const gone of there.values()) gone.remove();
    let next = this.body.firstElementChild;
    for (const element of drawn) {
      if (element === next) next = next.nextElementSibling;
      else this.body.insertBefore(element, next);
    }
    if (active) this.box.setAttribute("aria-activedescendant", active);
    else this.box.removeAttribute("aria-activedescendant");
  }
}
