// Beside the list: the chosen platform's task, and what it printed.
import type { State } from "../live/socket";
import { gettext } from "../messages";
import { DifferenceView } from "../output/difference";
import { rangeOf } from "../output/line_range";
import { icon, press } from "../output/parts";
import { OutputViewer } from "../output/viewer";
import { visible } from "../visible";
import { Failure } from "./failure";
import { type Group, reasonOf as reasonOfGroup } from "./groups";
import { reasonOf, stateOf, type Task, type Vocabulary } from "./tasks";

export class Panel {
  private readonly head = document.createElement("div");
  private readonly failure: Failure;
  private readonly viewer = document.createElement("div");
  private readonly difference = new DifferenceView();
  private readonly output: OutputViewer;
  private readonly root: HTMLElement;
  private task: Task | null = null;
  /** The tasks that are compared; empty where the output itself is shown. */
  private compared = "";
  private line = "";
  /** How the task stood when it was told last. */
  private told = "";

  /** `onPick`: it is told of which task lines were picked. */
  constructor(
    private readonly words: Vocabulary,
    onPick: (task: string) => void,
  ) {
    const root = document.getElementById("output");
    if (!root) throw new Error("the page has no place for output");
    this.root = root;
    this.failure = new Failure(words);
    this.head.className = "card-header x-output-head";
    const hint = document.createElement("p");
    hint.className = "x-muted m-0";
    hint.textContent = gettext("Choose a platform to see what it printed.");
    this.head.append(hint);
    root.append(this.head, this.failure.element);
    root.append(this.viewer, this.difference.element);
    this.difference.element.hidden = true;
    this.output = new OutputViewer(this.viewer, {
      onState: (state) => this.onState(state),
      onPick: () => onPick(this.root.dataset.open ?? ""),
    });
  }

  show(task: Task): void {
    this.task = task;
    this.compare(null, "");
    this.line = "";
    this.root.dataset.open = task.id;
    this.told = task.status;
    this.refresh();
    this.openOutput(task);
  }

  private openOutput(task: Task): void {
    this.output.open({ id: task.id, atEnd: task.status !== "success", started: task.started });
  }

  /** What the platforms of a group printed; where it is not the largest, also how it differs from what that printed.
   * A group that is shown already is told anew: it has grown, or another has become the largest. */
  showGroup(group: Group, largest: string): void {
    const hasGrown = this.told === "lost" && group.status !== "lost";
    const isShown = this.task === null && this.root.dataset.open === group.task_id && !hasGrown;
    this.task = null;
    this.told = group.status;
    this.line = "";
    this.root.dataset.open = group.task_id;
    const heading = document.createElement("h2");
    heading.className = "card-title x-group-title";
    // Names are cut behind a comma rather than in the middle of a number.
    const names = visible(group.names).split(/(?<=,)/);
    heading.append(...names.flatMap((part) => [part, document.createElement("wbr")]), ` (${group.count})`);
    const reason = document.createElement("span");
    reason.className = "x-muted";
    reason.textContent = reasonOfGroup(group, this.words);
    // The end of one task says nothing of the others'.
    this.failure.show(group.error_code, group.count === 1 ? group.task_id : null);
    this.head.replaceChildren(heading, stateOf(group.status, this.words), reason, ownPage(group.task_id));
    // More names than have room are scrolled through, by the keyboard too.
    if (heading.scrollHeight > heading.clientHeight) heading.tabIndex = 0;
    if (!isShown) this.output.open({ id: group.task_id, atEnd: false, started: null });
    if (group.task_id === largest) {
      this.compare(null, "");
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-sm";
    button.textContent = gettext("How it differs from the largest");
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      press(button, on);
      this.compare(on ? largest : null, group.task_id);
    });
    this.head.lastElementChild?.before(button);
    // An address that names lines shows them.
    const differs = isShown ? this.compared !== "" : rangeOf(location.hash) === null;
    press(button, differs);
    this.compare(differs ? largest : null, group.task_id);
  }

  private compare(largest: string | null, task: string): void {
    const compared = largest === null ? "" : `${largest} ${task}`;
    if (compared && compared === this.compared) return;
    this.compared = compared;
    this.viewer.hidden = largest !== null;
    this.difference.element.hidden = largest === null;
    if (largest !== null) void this.difference.open(largest, task);
  }

  /** Where it stands below the list, as on a phone, whoever tapped a line there comes to it. */
  reveal(): void {
    if (this.root.getBoundingClientRect().top > window.innerHeight / 2) this.root.scrollIntoView();
  }

  /** The rows were read anew: go on with the one of the same id. */
  replace(byId: ReadonlyMap<string, Task>): void {
    if (this.task) this.task = byId.get(this.task.id) ?? this.task;
  }

  refresh(): void {
    const task = this.task;
    if (!task) return;
    const told = this.told;
    this.told = task.status;
    // A lost task may get another end later, with the rest of what it printed.
    if (told === "lost" && task.status !== "lost") this.openOutput(task);
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
    this.failure.show(task.errorCode, task.id);
    this.head.replaceChildren(heading, stateOf(task.status, this.words), reason, ownPage(task.id));
  }

  private onState(state: State): void {
    this.line = state === "waiting" ? gettext("The connection is lost; trying again ...") : "";
    this.refresh();
  }
}

/** The way to the output's own page. */
function ownPage(task: string): HTMLElement {
  const link = document.createElement("a");
  link.className = "btn btn-icon btn-sm x-tool x-own-page";
  link.href = `/tasks/${task}`;
  link.title = gettext("On a page of its own");
  link.setAttribute("aria-label", link.title);
  link.append(icon("external-link"));
  return link;
}
