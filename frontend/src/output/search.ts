// Looking for text in all of an output, on the server: a counter, and from match to match.

import { Refused } from "../live/ask";
import { formatNumber, gettext, ngettext } from "../messages";
import { visible } from "../visible";
import type { Found, OutputApi, Query } from "./api";
import { button, press } from "./parts";

const TYPING_MS = 150;
const AGAIN_MS = 150;
const BROKEN_MS = 1_000;
const MOST_WAITING = 20;

export interface Searched {
  /** Matches are to be marked; null: none any more. */
  onQuery(query: Query | null): void;
  /** Here is the match that was asked for. */
  onMatch(number: number): void;
  /** The line from which the reader looks on. */
  top(): number;
}

export class Search {
  readonly element = document.createElement("div");
  private readonly input = document.createElement("input");
  private readonly counter = document.createElement("span");
  private readonly caseButton: HTMLButtonElement;
  private readonly regexButton: HTMLButtonElement;
  private readonly steps: HTMLButtonElement[];
  private api: OutputApi | null = null;
  private query: Query | null = null;
  private current: number | null = null;
  private ordinal: number | null = null;
  private timer = 0;
  private asking: AbortController | null = null;
  private waiting: ("next" | "previous")[] = [];
  private isStepping = false;

  constructor(private readonly searched: Searched) {
    this.element.className = "x-search-output";
    this.element.setAttribute("role", "search");
    this.input.type = "search";
    this.input.className = "form-control form-control-sm";
    this.input.placeholder = gettext("Search the output");
    this.input.setAttribute("aria-label", gettext("Search the output"));
    this.input.maxLength = 1_000;
    this.input.spellcheck = false;
    this.input.autocomplete = "off";
    this.counter.className = "x-counter";
    this.counter.setAttribute("role", "status");
    const toggle = (which: () => HTMLButtonElement): void => {
      press(which(), which().getAttribute("aria-pressed") !== "true");
      this.begin();
    };
    this.caseButton = button("letter-case", gettext("Upper and lower case differ"), () =>
      toggle(() => this.caseButton),
    );
    this.regexButton = button("regex", gettext("Regular expression"), () => toggle(() => this.regexButton));
    press(this.caseButton, false);
    press(this.regexButton, false);
    this.steps = [
      button("chevron-up", gettext("Previous match (Shift+Enter)"), () => void this.step("previous")),
      button("chevron-down", gettext("Next match (Enter)"), () => void this.step("next")),
    ];
    this.element.append(this.input, this.counter, ...this.steps, this.caseButton, this.regexButton);
    this.input.addEventListener("input", () => {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.begin(), TYPING_MS);
    });
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.show();
  }

  /** Search this output from now on; what was looked for stays. */
  open(api: OutputApi): void {
    this.stop();
    this.api = api;
    this.query = null;
    if (this.input.value) this.begin();
    else this.show();
  }

  close(): void {
    this.stop();
    this.api = null;
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  /** There may be more lines now: count again. */
  renew(): void {
    if (this.query && !this.asking) void this.count(this.query);
  }

  get isOn(): boolean {
    return this.query !== null;
  }

  private stop(): void {
    window.clearTimeout(this.timer);
    this.waiting = [];
    this.asking?.abort();
    this.asking = null;
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === "Enter") {
      event.preventDefault();
      const wanted = this.asked();
      if (JSON.stringify(wanted) !== JSON.stringify(this.query)) this.begin();
      else void this.step(event.shiftKey ? "previous" : "next");
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.input.value = "";
      this.begin();
    }
  }

  private asked(): Query | null {
    const text = this.input.value;
    if (!text) return null;
    const on = (which: HTMLElement): boolean => which.getAttribute("aria-pressed") === "true";
    return { text, case: on(this.caseButton), regex: on(this.regexButton) };
  }

  private begin(): void {
    this.stop();
    this.query = this.asked();
    this.current = this.ordinal = null;
    if (!this.query) {
      this.show();
      this.searched.onQuery(null);
      return;
    }
    void this.seek(this.query, this.searched.top(), "next", true);
  }

  /** Go on, however fast the key is pressed: each press is one match. */
  private async step(direction: "next" | "previous"): Promise<void> {
    if (this.waiting.length < MOST_WAITING) this.waiting.push(direction);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let next = this.waiting.shift(); next && this.query; next = this.waiting.shift()) {
        this.asking?.abort();
        const from = this.current ?? this.searched.top();
        const start = next === "next" && this.current !== null ? from + 1 : from;
        await this.seek(this.query, start, next, false);
      }
    } finally {
      this.isStepping = false;
    }
  }

  /** Go to the match next to a line; past the last one, on to the first. */
  private async seek(
    query: Query,
    from: number,
    direction: "next" | "previous",
    isNew: boolean,
  ): Promise<void> {
    const first = isNew;
    let start = from;
    let turned = false;
    for (;;) {
      const found = await this.ask(query, start, direction);
      if (!found || this.query !== query) return;
      if (isNew) this.searched.onQuery(query);
      isNew = false;
      const hit = found.hits[direction === "next" ? 0 : found.hits.length - 1];
      if (hit !== undefined) {
        this.current = hit;
        this.ordinal = found.ordinal;
        this.show(found);
        this.searched.onMatch(hit);
        if (!found.complete) void this.count(query);
        return;
      }
      this.show(found);
      if (!found.complete && (direction === "next" || first)) await pause(AGAIN_MS);
      else if (!turned && found.count > 0) {
        turned = true;
        start = direction === "next" ? 1 : found.searched + 1;
      } else return;
    }
  }

  /** Wait until all is searched, and tell how far it is. */
  private async count(query: Query): Promise<void> {
    for (;;) {
      const found = await this.ask(query, this.current ?? 1, "next");
      if (!found || this.query !== query) return;
      if (found.hits[0] === this.current) this.ordinal = found.ordinal;
      this.show(found);
      if (found.complete) return;
      await pause(AGAIN_MS);
    }
  }

  private async ask(query: Query, from: number, direction: "next" | "previous"): Promise<Found | null> {
    const mine = new AbortController();
    this.asking = mine;
    try {
      for (;;) {
        if (!this.api || this.query !== query) return null;
        try {
          return await this.api.search(query, from, direction, 1, mine.signal);
        } catch (error) {
          if (mine.signal.aborted) return null;
          if (error instanceof Refused) {
            this.show(null, error);
            return null;
          }
          await pause(BROKEN_MS);
        }
      }
    } finally {
      if (this.asking === mine) this.asking = null;
    }
  }

  private show(found: Found | null = null, problem: Refused | null = null): void {
    const any = found !== null && found.count > 0;
    for (const step of this.steps) step.disabled = !any;
    this.input.classList.toggle("is-invalid", problem !== null);
    this.counter.classList.toggle("x-problem", problem !== null);
    if (problem) this.counter.replaceChildren(...said(problem));
    else this.counter.textContent = found ? this.told(found) : this.query ? "..." : "";
    this.counter.title = this.counter.textContent ?? "";
  }

  private told(found: Found): string {
    const rest = found.complete ? "" : ` (${Math.floor(found.progress * 100)} %)`;
    if (found.count === 0) return (found.complete ? gettext("nothing found") : gettext("searching")) + rest;
    if (this.ordinal === null) return ngettext("%(num)s line", "%(num)s lines", found.count) + rest;
    const values = { place: formatNumber(this.ordinal), count: formatNumber(found.count) };
    return gettext("%(place)s of %(count)s", values) + rest;
  }
}

/** Why nothing can be looked for; what RE2 says of an expression is English. */
function said(problem: Refused): (string | Node)[] {
  const reason = document.createElement("span");
  reason.lang = "en";
  reason.textContent = visible(problem.reason);
  return problem.code === "bad_expression"
    ? [gettext("The expression cannot be read:"), " ", reason]
    : [reason];
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => window.setTimeout(resolve, milliseconds));
}
