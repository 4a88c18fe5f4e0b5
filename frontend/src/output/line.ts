// One line as an element. Whatever the output holds becomes text and nothing else: no markup is ever made of it.
import { formatNumber, gettext, language } from "../messages";
import { HIDDEN, visible } from "../visible";
import type { Line } from "./api";
import { lookOf } from "./sgr";

export type Times = "none" | "absolute" | "relative";

export interface Drawing {
  times: Times;
  /** What relative times count from, in milliseconds since 1970. */
  since: number;
}

/** More marks in one line than this are written as plain text: a line of nothing else must not take a page's memory. */
const MOST_MARKS = 200;
const MARKED = new RegExp(`(${HIDDEN.source}+)`, "u");
const clock = new Intl.DateTimeFormat(language, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });

/** The element of line `number`; without a line, the place of one that has not come yet. */
export function draw(number: number | null, line: Line | undefined, how: Drawing): HTMLElement {
  const row = document.createElement("div");
  row.className = "x-line-row";
  const gutter = document.createElement("span");
  gutter.className = "x-gutter";
  if (number !== null) {
    row.dataset.number = String(number);
    const link = document.createElement("a");
    link.className = "x-number";
    link.href = `#L${number}`;
    link.tabIndex = -1;
    // By a style sheet, so that copied text has no numbers in it.
    link.dataset.shown = String(number);
    link.setAttribute("aria-label", gettext("Line %(number)s", { number: formatNumber(number) }));
    gutter.append(link);
  }
  if (line && how.times !== "none") gutter.append(time(line, how));
  row.append(gutter);
  const text = document.createElement("span");
  text.className = "x-text";
  row.append(text);
  if (!line) {
    row.classList.add("x-not-yet");
    text.textContent = "\u00a0";
    return row;
  }
  if (line.stream === "stderr") row.classList.add("x-stderr");
  fill(text, line);
  return row;
}

function time(line: Line, how: Drawing): HTMLElement {
  const shown = document.createElement("time");
  const at = new Date(line.ts);
  shown.dateTime = line.ts;
  shown.title = moment.format(at);
  shown.className = "x-at";
  shown.dataset.shown =
    how.times === "absolute" ? clock.format(at) : `+${((at.getTime() - how.since) / 1000).toFixed(3)}`;
  return shown;
}

function fill(into: HTMLElement, line: Line): void {
  let marks = 0;
  const append = (parent: HTMLElement, text: string): void => {
    if (marks > MOST_MARKS) {
      parent.append(visible(text));
      return;
    }
    for (const [index, piece] of text.split(MARKED).entries()) {
      if (!piece) continue;
      if (index % 2 === 0 || piece === "\t") {
        parent.append(piece);
        continue;
      }
      const mark = document.createElement("span");
      mark.className = "x-control";
      mark.textContent = visible(piece);
      mark.title = gettext("Characters that cannot be seen, or turn the direction of writing");
      parent.append(mark);
      marks++;
    }
  };
  if (line.styles.length === 0 && line.matches.length === 0) append(into, line.text);
  else for (const part of parts(line)) append(element(into, part), part.text);
  if (!line.text && !line.cut) into.append("\u200b");
  if (line.overwritten) note(into, "\u21ba", gettext("The line wrote over itself; this is what was left."));
  if (line.cut) {
    const more = gettext("... %(size)s in all", { size: size(line.length) });
    note(into, more, gettext("The line is too long to show. Download the output to see all of it."));
  }
}

function note(into: HTMLElement, text: string, title: string): void {
  const said = document.createElement("span");
  said.className = "x-line-note";
  said.dataset.shown = text;
  said.title = title;
  said.setAttribute("role", "img");
  said.setAttribute("aria-label", `${text} ${title}`);
  into.append(said);
}

function size(bytes: number): string {
  const million = bytes >= 1_000_000;
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: million ? "megabyte" : "kilobyte",
    maximumFractionDigits: 1,
  }).format(bytes / (million ? 1_000_000 : 1_000));
}

interface Part {
  text: string;
  sgr: string;
  match: boolean;
}

function element(into: HTMLElement, part: Part): HTMLElement {
  if (!part.sgr && !part.match) return into;
  const made = document.createElement(part.match ? "mark" : "span");
  if (part.sgr) {
    const look = lookOf(part.sgr);
    made.classList.add(...look.classes);
    // A match has colours of its own.
    if (!part.match) {
      made.style.color = look.color;
      made.style.backgroundColor = look.background;
    }
  }
  into.append(made);
  return made;
}

/** The line cut where its look changes. */
function parts(line: Line): Part[] {
  // Places count characters: the same as units of the string, unless it has some beyond the basic plane.
  const characters = /[\ud800-\udfff]/.test(line.text) ? Array.from(line.text) : null;
  const length = characters ? characters.length : line.text.length;
  const cuts = new Set([0, length]);
  for (const [start, end] of [...line.styles, ...line.matches]) cuts.add(start).add(end);
  const places = [...cuts].filter((place) => place <= length).sort((a, b) => a - b);
  const found: Part[] = [];
  let style = 0;
  let match = 0;
  for (let index = 0; index + 1 < places.length; index++) {
    const start = places[index] as number;
    const end = places[index + 1] as number;
    while (style < line.styles.length && (line.styles[style]?.[1] ?? 0) <= start) style++;
    while (match < line.matches.length && (line.matches[match]?.[1] ?? 0) <= start) match++;
    const styled = line.styles[style];
    const matched = line.matches[match];
    found.push({
      text: characters ? characters.slice(start, end).join("") : line.text.slice(start, end),
      sgr: styled && styled[0] <= start ? styled[2] : "",
      match: matched !== undefined && matched[0] <= start,
    });
  }
  return found;
}
