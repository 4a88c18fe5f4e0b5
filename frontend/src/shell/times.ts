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

const spans: [Intl.NumberFormat, number][] = (
  [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
    ["second", 1],
  ] as const
).map(([unit, size]) => [
  new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 }),
  size,
]);

/** A time span: tenths of seconds below ten, then its two greatest units; the server's `duration` says the same. */
export function duration(seconds: number): string {
  const last = spans.at(-1);
  if (seconds < 10 && last) return last[0].format(Math.max(0, Math.round(seconds * 10) / 10));
  const parts: string[] = [];
  let left = Math.round(seconds);
  for (const [format, size] of spans) {
    if (left >= size && parts.length < 2) parts.push(format.format(Math.floor(left / size)));
    left %= size;
  }
  return parts.join(" ");
}

/** Let the time in `#elapsed` go on from so many seconds, until the function that is returned is called; by how long the
 * page has been open, because this machine's clock may be another than the server's. */
export function tick(seconds: number, each: (elapsed: number) => void = () => undefined): () => void {
  const began = Date.now() / 1000 - seconds;
  const timer = window.setInterval(() => {
    const elapsed = Date.now() / 1000 - began;
    const place = document.getElementById("elapsed");
    if (place) place.textContent = duration(elapsed);
    each(elapsed);
  }, 1000);
  return () => window.clearInterval(timer);
}

/** Write the moments in this part of the page in the reader's zone. */
export function showTimes(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLTimeElement>("time[datetime]")) {
    const moment = new Date(element.dateTime);
    element.title = exact.format(moment);
    if (element.dataset.shown === "exact") element.textContent = exact.format(moment);
    else element.textContent = ago(moment);
  }
}

export function startTimes(): void {
  showTimes(document);
  document.body.addEventListener("htmx:afterSwap", () => showTimes(document));
  window.setInterval(() => showTimes(document), 20_000);
}
