// Below a task's head: what to do about its failure in the page's language, and the host's own words as they are stored.
import { gettext } from "../messages";
import { visible } from "../visible";
import type { Vocabulary } from "./tasks";

export class Why {
  readonly element = document.createElement("div");
  private readonly step = document.createElement("p");
  private readonly detail = document.createElement("p");
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
    // Messages are stored in English.
    this.told.lang = "en";
    this.detail.append(label, this.told);
    this.element.append(this.step, this.detail);
  }

  /** Of an error; `task` is whose message is shown with it, where there is one. */
  show(code: string | null, task: string | null): void {
    if (code === this.code && task === this.task) return;
    this.code = code;
    this.task = task;
    this.step.textContent = this.words.errors[code ?? ""]?.[1] ?? "";
    this.detail.hidden = true;
    this.element.hidden = !code;
    // Of an exit status the message says nothing more.
    if (task !== null && code && code !== "exit_status") void this.load(task);
  }

  private async load(task: string): Promise<void> {
    try {
      const answer = await fetch(`/api/v1/tasks/${task}`, { cache: "no-store" });
      const message: unknown = answer.ok ? (await answer.json()).error_message : null;
      if (this.task !== task || typeof message !== "string" || !message) return;
      this.told.textContent = visible(message);
      this.detail.hidden = false;
    } catch {
      // The reason is there without it.
    }
  }
}
