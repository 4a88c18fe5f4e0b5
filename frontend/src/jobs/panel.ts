// Beside the list: the chosen platform's task, and what it printed.
import type { State } from "../live/socket";
import { gettext } from "../messages";
import { OutputViewer } from "../output/viewer";
import { visible } from "../visible";
import { reasonOf, stateOf, type Task, type Vocabulary } from "./tasks";

export class Panel {
  private readonly head = document.createElement("div");
  private readonly output: OutputViewer;
  private readonly root: HTMLElement;
  private task: Task | null = null;
  private line = "";

  constructor(private readonly words: Vocabulary) {
    const root = document.getElementById("output");
    if (!root) throw new Error("the page has no place for output");
    this.root = root;
    this.head.className = "card-header x-output-head";
    const hint = document.createElement("p");
    hint.className = "x-muted m-0";
    hint.textContent = gettext("Choose a platform to see what it printed.");
    this.head.append(hint);
    root.append(this.head);
    const viewer = document.createElement("div");
    root.append(viewer);
    this.output = new OutputViewer(viewer, { onState: (state) => this.onState(state) });
  }

  show(task: Task): void {
    this.task = task;
    this.line = "";
    this.root.dataset.open = task.id;
    this.refresh();
    this.output.open({ id: task.id, atEnd: task.status !== "success", started: task.started });
  }

  /** The rows were read anew: go on with the one of the same id. */
  replace(byId: ReadonlyMap<string, Task>): void {
    if (this.task) this.task = byId.get(this.task.id) ?? this.task;
  }

  refresh(): void {
    const task = this.task;
    if (!task) return;
    const name = document.createElement("a");
    name.className = "x-name";
    name.href = `/platforms/${task.platform}`;
    name.textContent = visible(task.name);
    const heading = document.createElement("h2");
    heading.className = "card-title";
    heading.append(name);
    const reason = document.createElement("span");
    reason.className = "x-muted";
    reason.textContent = [reasonOf(task, this.words), this.line].filter(Boolean).join(" · ");
    this.head.replaceChildren(heading, stateOf(task.status, this.words), reason);
  }

  private onState(state: State): void {
    this.line = state === "waiting" ? gettext("The connection is lost; trying again ...") : "";
    this.refresh();
  }
}
