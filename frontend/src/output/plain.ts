// What one platform prints, as plain text, live. It keeps the last part only: the whole is a download away, and the
// viewer that goes through a million lines takes its place by the same three calls.
import { type State, Stream } from "../live/socket";
import { gettext } from "../messages";
import { visible } from "../visible";

export interface Opened {
  id: string;
  /** How many frames are stored, where the task is over: of a long output only the end is asked for. */
  frames: number;
}

const LAST_FRAMES = 400;
const MOST_PIECES = 3_000;
const MOST_CHARACTERS = 2_000_000;
const AT_END_PX = 40;
// Colours (SGR, ECMA-48 8.3.117). Whatever else a program sends to a terminal is shown as what it is.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const COLOURS = /\x1b\[[0-9;:]*m/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const CUT_OFF = /(?:\x1b(?:\[[0-9;:]*)?|\r)$/;

export class PlainOutput {
  private readonly text = document.createElement("pre");
  private readonly note = document.createElement("p");
  private stream: Stream | null = null;
  private waiting: [string, string][] = [];
  private kept = "";
  private characters = 0;
  private printed = false;

  constructor(
    root: HTMLElement,
    private readonly onState: (state: State) => void,
  ) {
    this.text.className = "x-output";
    this.text.tabIndex = 0;
    this.text.setAttribute("aria-label", gettext("Output"));
    this.note.className = "x-hint px-3 pt-2 mb-0";
    root.append(this.note, this.text);
  }

  /** Show a task's output from now on. */
  open(task: Opened): void {
    this.close();
    const skips = task.frames > LAST_FRAMES;
    this.note.hidden = !skips;
    this.note.textContent = skips ? gettext("Only the end is shown. Download it to see it all.") : "";
    this.stream = new Stream(
      `/ws/tasks/${task.id}`,
      skips ? task.frames - LAST_FRAMES : -1,
      (message) => {
        if (message.type === "stdout" || message.type === "stderr") this.add(message.type, message.payload);
        if (message.type === "error") this.add("error", `${message.payload.message}\n`);
        if (message.type === "done" && !this.printed) {
          this.note.hidden = false;
          this.note.textContent = gettext("It printed nothing.");
        }
      },
      this.onState,
    );
  }

  /** Show nothing more. */
  close(): void {
    this.stream?.close();
    this.stream = null;
    this.waiting = [];
    this.kept = "";
    this.characters = 0;
    this.printed = false;
    this.note.hidden = true;
    this.text.replaceChildren();
  }

  private add(kind: string, raw: string): void {
    this.printed = true;
    if (this.waiting.length === 0) requestAnimationFrame(() => this.flush());
    if (kind === "error") {
      this.waiting.push([kind, visible(raw)]);
      return;
    }
    // What a message ends in the middle of is kept for the next one.
    const whole = this.kept + raw;
    this.kept = whole.match(CUT_OFF)?.[0] ?? "";
    const done = whole.slice(0, whole.length - this.kept.length);
    this.waiting.push([kind, visible(done.replace(COLOURS, "").replace(/\r+\n/g, "\n"))]);
  }

  private flush(): void {
    const follows =
      this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < AT_END_PX ||
      !this.text.firstChild;
    const pieces = document.createDocumentFragment();
    for (const [kind, text] of this.waiting) {
      if (!text) continue;
      const piece = document.createElement("span");
      if (kind !== "stdout") piece.className = `x-${kind}`;
      piece.textContent = text;
      pieces.append(piece);
      this.characters += text.length;
    }
    this.waiting = [];
    this.text.append(pieces);
    while (this.text.childElementCount > MOST_PIECES || this.characters > MOST_CHARACTERS) {
      const first = this.text.firstElementChild;
      if (!first || first === this.text.lastElementChild) break;
      this.characters -= first.textContent?.length ?? 0;
      first.remove();
      this.note.hidden = false;
      this.note.textContent = gettext("Only the end is shown. Download it to see it all.");
    }
    if (follows) this.text.scrollTop = this.text.scrollHeight;
  }
}
