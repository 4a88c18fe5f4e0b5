// Moments: the server writes how long ago they were; here that goes on, and the exact time shows in the reader's zone.
import { language } from "../messages";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

/** How long ago a moment was, in words. */
export function ago(moment: Date, now: number = Date.now()): string {
  const seconds = Math.min(0, Math.round((moment.getTime() - now) / 1000));
  const [unit, size] = UNITS.find(([, length]) => -seconds >= length) ?? ["second", 1];
  return relative.format(Math.ceil(seconds / size), unit);
}

function refresh(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLTimeElement>("time[datetime]")) {
    const moment = new Date(element.dateTime);
    element.title = exact.format(moment);
    if (element.dataset.shown === "exact") element.textContent = exact.format(moment);
    else element.textContent = ago(moment);
  }
}

export function startTimes(): void {
  refresh(document);
  document.body.addEventListener("htmx:afterSwap", () => refresh(document));
  window.setInterval(() => refresh(document), 20_000);
}
