// Below a task's head: what to do about its failure in the page's language, whether its processes are gone, and the
// host's own words as they are stored.
import { ask } from "../live/ask";
import { gettext } from "../messages";
import { visible } from "../visible";
import type { Vocabulary } from "./tasks";

interface Details {
  error_message: string | null;
  metadata: { termination?: { state: string; detail: string; looking?: boolean } };
}

export class Failure {
  readonly element = document.createElement("div");
  private readonly step = document.createElement("p");
  private readonly ended = document.createElement("p");
  private readonly detail = document.createElement("p");
  private readonly ours = document.createElement("span");
  private readonly told = document.createElement("span");
  private task: string | null = null;
  private code: string | null = null;

  constructor(private readonly words: Vocabulary) {
    this.element.className = "x-output-why x-reason";
    this.element.hidden = true;
    this.detail.className = "x-reason-detail";
    const label = document.createElement("span");
    label.className = "visually-hidden";
    label.textContent = `${gettext("Details:")} `;
    // What came from the host is stored in English.
    this.told.lang = "en";
    this.detail.append(label, this.ours, " ", this.told);
    this.ended.className = "x-ended";
    this.element.append(this.step, this.ended, this.detail);
  }

  /** Of an error; `task` is whose message and end are shown with it, where there is one. */
  show(code: string | null, task: string | null): void {
    if (code === this.code && task === this.task) return;
    this.code = code;
    this.task = task;
    this.step.textContent = this.words.errors[code ?? ""]?.[1] ?? "";
    this.detail.hidden = true;
    this.ended.hidden = true;
    this.element.hidden = !code;
    // Of an exit status the message says nothing more.
    if (task !== null && code && code !== "exit_status") void this.load(task);
  }

  private async load(task: string): Promise<void> {
    try {
      const answer = await ask(`/api/v1/tasks/${task}`);
      if (!answer.ok) return;
      const { error_message: message, metadata }: Details = await answer.json();
      if (this.task !== task) return;
      const end = metadata.termination;
      if (end) {
        const isGone = end.state === "confirmed";
        this.ended.dataset.end = end.state;
        this.ended.textContent = isGone
          ? gettext(
              "Its processes are confirmed gone: none bears its mark, descends from one that did, or is in its session.",
            )
          : end.looking
            ? gettext(
                "It is not confirmed that its processes are gone: testum looks on the host until it is known.",
              )
            : gettext("It is not confirmed that its processes are gone: look on the host.");
      }
      this.ended.hidden = !end;
      // How it is known that they are gone is of no use here; why it is not known is.
      const ours = this.words.endings.get(message ?? "") ?? "";
      const said = [ours ? "" : message, end && end.state !== "confirmed" ? end.detail : ""].filter(Boolean);
      this.ours.textContent = ours;
      this.told.textContent = visible(said.join(" "));
      this.detail.hidden = !ours && said.length === 0;
    } catch {
      // The reason is there without it.
    }
  }
}
