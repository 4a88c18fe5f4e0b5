// The line above the list: how many are done, failed and so on, as numbers that are also filters, and as a bar.
import { formatNumber, gettext } from "../messages";
import { duration, tick } from "../shell/times";
import { countsOf, stateOf, type Task, type Vocabulary } from "./tasks";

const PARTS: [string, string][] = [
  ["success", "ok"],
  ["failed", "bad"],
  ["lost", "bad"],
  ["cancelled", "warn"],
  ["running", "run"],
];
/** Over the usual time by no more than this is as usual: the server says the same (pages/jobs.py). */
const LATE_SECONDS = 1;
const LATE_SHARE = 0.1;
const SVG = "http://www.w3.org/2000/svg";

export class Summary {
  /** The job's time goes on no more. */
  stop: () => void = () => undefined;
  private readonly buttons = [...document.querySelectorAll<HTMLButtonElement>("[data-only]")];

  constructor(
    private readonly words: Vocabulary,
    private readonly usual: number,
    private readonly onChoose: (only: string) => void,
  ) {
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.choose(button.dataset.only ?? ""));
    }
  }

  /** Show only what is in this status; all where it is empty, or where there is no such status. */
  choose(wanted: string): void {
    const only = this.buttons.some((button) => button.dataset.only === wanted) ? wanted : "";
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.only === only));
    }
    this.onChoose(only);
  }

  /** The job is under way, for so many seconds already: its time goes on. */
  run(elapsed: number): void {
    this.stop = tick(elapsed, (now) => {
      if (this.usual) this.compare(now);
    });
  }

  /** How the time so far stands to what is usual. */
  private compare(elapsed: number): void {
    const place = document.getElementById("usual");
    const meter = place?.querySelector("[role=meter]");
    if (!place || !meter) return;
    const late = elapsed - this.usual;
    const isLate = late > Math.max(LATE_SECONDS, this.usual * LATE_SHARE);
    const share = Math.min(100, Math.round((1000 * elapsed) / this.usual) / 10);
    const usual = duration(this.usual);
    const said = isLate
      ? gettext("%(time)s longer than usual (%(usual)s)", { time: duration(late), usual })
      : gettext("%(time)s of the usual %(usual)s", { time: duration(elapsed), usual });
    place.dataset.late = String(isLate);
    meter.setAttribute("aria-valuenow", String(share));
    meter.setAttribute("aria-valuetext", said);
    meter.querySelector("rect")?.setAttribute("width", `${share}%`);
    if (place.lastElementChild) place.lastElementChild.textContent = said;
  }

  update(tasks: readonly Task[]): void {
    const counts = countsOf(tasks);
    for (const place of document.querySelectorAll<HTMLElement>("[data-count]")) {
      const name = place.dataset.count ?? "";
      place.textContent = formatNumber(counts[name] ?? 0);
      if (name === "cancelled" || name === "lost") {
        const button = place.closest("button");
        if (button) button.hidden = !counts[name];
      }
    }
    const bar = document.getElementById("bar");
    let x = 0;
    const parts = PARTS.map(([name, colour]) => {
      const width = (100 * (counts[name] ?? 0)) / (counts.total || 1);
      const part = document.createElementNS(SVG, "rect");
      part.setAttribute("class", `x-fill-${colour}`);
      part.setAttribute("x", `${x}%`);
      part.setAttribute("width", `${width}%`);
      part.setAttribute("height", "100%");
      x += width;
      return part;
    });
    bar?.replaceChildren(...parts);
  }

  /** What the whole job's status is now. */
  tell(status: string): void {
    document.getElementById("job-status")?.replaceChildren(stateOf(status, this.words));
  }

  /** The job is over: what can be done with it changes. */
  finish(status: string, tasks: readonly Task[]): void {
    this.tell(status);
    const counts = countsOf(tasks);
    for (const part of document.querySelectorAll<HTMLElement>("[data-while]")) {
      part.hidden = part.dataset.while !== "over";
    }
    const failed = (counts.failed ?? 0) + (counts.lost ?? 0) > 0;
    const cancelled = (counts.cancelled ?? 0) > 0;
    const holds: Record<string, boolean> = {
      failed,
      unfailed: !failed,
      cancelled,
      choice: failed || cancelled,
    };
    for (const part of document.querySelectorAll<HTMLElement>("[data-if]")) {
      part.hidden = !holds[part.dataset.if ?? ""];
    }
  }
}
