// Platforms that printed the same, folded into one block each, and how the others differ from the largest.
import { gettext, ngettext } from "../messages";
import { visible } from "../visible";
import { stateOf, type Vocabulary } from "./tasks";

export interface Group {
  names: string;
  count: number;
  task_id: string;
  status: string;
  exit_code: number | null;
  error_code: string | null;
  output_bytes: number;
}

interface Outputs {
  groups: Group[];
  total: number;
  pending: number;
  compared: number;
  complete: boolean;
}

const MOST = 200;
const AGAIN_MS = 300;
const PENDING_MS = 3_000;

export class GroupList {
  private readonly box: HTMLElement;
  private readonly note = document.createElement("p");
  private readonly list = document.createElement("div");
  private groups: readonly Group[] = [];
  private chosen = "";
  private timer = 0;
  private isOpen = false;
  private told = "";

  constructor(
    private readonly job: string,
    private readonly words: Vocabulary,
    private readonly choose: (group: Group, largest: Group) => void,
  ) {
    const box = document.getElementById("groups");
    if (!box) throw new Error("the page has no place for groups");
    this.box = box;
    this.note.className = "x-hint px-3 py-2 m-0";
    this.note.setAttribute("role", "status");
    this.list.className = "x-groups-list";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", gettext("Platforms by what they printed"));
    this.list.tabIndex = 0;
    this.list.addEventListener("click", (event) => {
      const row = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-task]") : null;
      if (row) this.pick(row.dataset.task ?? "");
    });
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    box.append(this.note, this.list);
  }

  open(): void {
    this.isOpen = true;
    this.box.hidden = false;
    this.told = "";
    void this.load();
  }

  close(): void {
    this.isOpen = false;
    this.box.hidden = true;
    window.clearTimeout(this.timer);
  }

  private async load(): Promise<void> {
    window.clearTimeout(this.timer);
    let wait = PENDING_MS;
    try {
      const answer = await fetch(`/api/v1/jobs/${this.job}/outputs?limit=${MOST}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const outputs: Outputs = await answer.json();
      if (!this.isOpen) return;
      this.show(outputs);
      if (outputs.complete && outputs.pending === 0) return;
      if (!outputs.complete) wait = AGAIN_MS;
    } catch {
      if (!this.isOpen) return;
      this.note.textContent = gettext("The connection is lost; trying again ...");
      this.told = "";
    }
    this.timer = window.setTimeout(() => void this.load(), wait);
  }

  private show(outputs: Outputs): void {
    const told = JSON.stringify(outputs);
    if (told === this.told) return;
    this.told = told;
    this.groups = outputs.groups;
    const said: string[] = [];
    if (outputs.total)
      said.push(ngettext("%(num)s kind of output", "%(num)s kinds of output", outputs.total));
    if (outputs.total > outputs.groups.length) said.push(gettext("only the largest are shown"));
    if (!outputs.complete) said.push(gettext("still comparing ..."));
    if (outputs.pending)
      said.push(
        ngettext("%(num)s platform has not ended", "%(num)s platforms have not ended", outputs.pending),
      );
    this.note.textContent = said.join(" · ");
    this.list.replaceChildren(...this.groups.map((group) => this.row(group)));
    if (!this.groups.some((group) => group.task_id === this.chosen)) {
      const first = this.groups[0];
      if (first) this.pick(first.task_id);
    }
  }

  private row(group: Group): HTMLElement {
    const row = document.createElement("div");
    row.className = "x-group";
    row.id = `group-${group.task_id}`;
    row.dataset.task = group.task_id;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(group.task_id === this.chosen));
    const names = document.createElement("span");
    names.className = "x-group-names";
    names.textContent = visible(group.names);
    names.title = visible(group.names);
    const count = document.createElement("span");
    count.className = "x-group-count";
    count.textContent = `(${group.count})`;
    const reason = document.createElement("span");
    reason.className = "x-row-reason";
    reason.textContent = reasonOf(group, this.words);
    row.append(stateOf(group.status, this.words), names, count, reason);
    return row;
  }

  private pick(task: string): void {
    const group = this.groups.find((one) => one.task_id === task);
    const largest = this.groups[0];
    if (!group || !largest) return;
    this.chosen = task;
    for (const row of this.list.querySelectorAll<HTMLElement>("[data-task]")) {
      const isChosen = row.dataset.task === task;
      row.setAttribute("aria-selected", String(isChosen));
      if (isChosen) {
        this.list.setAttribute("aria-activedescendant", row.id);
        row.scrollIntoView({ block: "nearest" });
      }
    }
    this.choose(group, largest);
  }

  private onKey(event: KeyboardEvent): void {
    const now = this.groups.findIndex((group) => group.task_id === this.chosen);
    const steps: Record<string, number> = {
      ArrowDown: now + 1,
      ArrowUp: now - 1,
      Home: 0,
      End: this.groups.length - 1,
    };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const group = this.groups[Math.max(0, Math.min(this.groups.length - 1, to))];
    if (group) this.pick(group.task_id);
  }
}

/** Why the tasks of a group failed, in words. */
export function reasonOf(group: Group, words: Vocabulary): string {
  if (!group.error_code) return "";
  const word = words.errors[group.error_code]?.[0] ?? group.error_code;
  return group.exit_code ? `${word} (${group.exit_code})` : word;
}
