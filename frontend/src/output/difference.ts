// How one task's output differs from another's, line by line.
import { formatNumber, gettext } from "../messages";
import { visible } from "../visible";

interface Changed {
  change: "same" | "removed" | "added" | "gap";
  text: string;
  old: number | null;
  new: number | null;
}

interface Difference {
  streams: { stream: "stdout" | "stderr"; lines: Changed[]; whole: boolean }[];
}

const SIGNS: Record<Changed["change"], string> = { same: " ", removed: "-", added: "+", gap: "" };

/** Shows differences in an element of the page. */
export class DifferenceView {
  readonly element = document.createElement("div");
  private asking: AbortController | null = null;

  constructor() {
    this.element.className = "x-difference";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "region");
    this.element.setAttribute("aria-label", gettext("Difference"));
  }

  /** Show what leads from the output of `task` to that of `other`. */
  async open(task: string, other: string): Promise<void> {
    this.asking?.abort();
    const mine = new AbortController();
    this.asking = mine;
    this.say(gettext("Comparing ..."));
    try {
      const answer = await fetch(`/api/v1/tasks/${task}/compare/${other}`, { signal: mine.signal });
      if (!answer.ok) throw new Error(String(answer.status));
      const difference: Difference = await answer.json();
      if (this.asking === mine) this.show(difference);
    } catch {
      if (this.asking === mine) this.say(gettext("The outputs could not be compared. Try again."));
    }
  }

  private say(text: string): void {
    const note = document.createElement("p");
    note.className = "x-difference-note";
    note.textContent = text;
    this.element.replaceChildren(note);
  }

  private show(difference: Difference): void {
    if (difference.streams.length === 0) {
      this.say(
        gettext(
          "Both show the same text: they differ in how they ended, or in what is not shown, such as colours.",
        ),
      );
      return;
    }
    this.element.replaceChildren();
    for (const { stream, lines, whole } of difference.streams) {
      const heading = document.createElement("h3");
      heading.className = "x-difference-stream";
      heading.textContent = stream === "stderr" ? gettext("Errors (stderr)") : gettext("Output (stdout)");
      this.element.append(heading, ...lines.map(row));
      if (!whole) {
        const note = document.createElement("p");
        note.className = "x-difference-note";
        note.textContent = gettext("There is more: only the beginning of large outputs is compared.");
        this.element.append(note);
      }
    }
  }
}

function row(line: Changed): HTMLElement {
  const made = document.createElement("div");
  made.className = `x-changed x-changed-${line.change}`;
  const gutter = document.createElement("span");
  gutter.className = "x-changed-gutter";
  const place = (number: number | null): string => (number === null ? "" : formatNumber(number));
  for (const text of [place(line.old), place(line.new)]) {
    const number = document.createElement("span");
    number.dataset.shown = line.change === "gap" ? "..." : text;
    gutter.append(number);
  }
  const text = document.createElement("span");
  text.className = "x-changed-text";
  text.textContent = `${SIGNS[line.change]} ${visible(line.text)}`;
  made.append(gutter, text);
  return made;
}
