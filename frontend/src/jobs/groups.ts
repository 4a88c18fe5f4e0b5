// Platforms that printed the same, folded into one block each, and how the others differ from the largest.
import { ask } from "../live/ask";
import { redraw } from "../live/renew";
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
  largest: string | null;
  pending: number;
  compared: number;
  complete: boolean;
}

const MOST = 200;
const AGAIN_MS = 300;
const PENDING_MS = 3_000;

export interface GroupEvents {
  /** Here is the group that is shown; `byReader`: somebody chose it here. `largest` is the task of the largest of all. */
  choose(group: Group, largest: string, byReader: boolean): void;
  /** The task that was asked for has no group: it has not ended, or its output is not kept any more. */
  choosePlain(task: string): void;
  /** So many groups are in the list; null: it is not known. */
  show(count: number | null): void;
}

export class GroupList {
  private readonly box: HTMLElement;
  private readonly note = document.createElement("p");
  private readonly list = document.createElement("div");
  private groups: readonly Group[] = [];
  private largest = "";
  private only = "";
  private asked = 0;
  private timer = 0;
  /** Which group's task is shown, once it is, and how that was told. */
  private shown = "";
  private shownAs = "";
  /** Somebody chose the group, or the address names it: a larger one does not take its place. */
  private isWanted: boolean;
  private isOpen = false;
  private told = "";

  /** `chosen`: the task whose group is shown first; empty: the largest group. */
  constructor(
    private readonly job: string,
    private readonly words: Vocabulary,
    private chosen: string,
    private readonly events: GroupEvents,
  ) {
    this.isWanted = chosen !== "";
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
      const group = this.groups.find((one) => one.task_id === row?.dataset.task);
      if (group) this.pick(group, true);
    });
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    box.append(this.note, this.list);
  }

  open(): void {
    this.isOpen = true;
    this.box.hidden = false;
    this.shown = this.shownAs = "";
    this.again();
  }

  /** Show only groups that ended so; all where it is empty. */
  filter(only: string): void {
    this.only = only;
    if (this.isOpen) this.again();
  }

  private again(): void {
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
    this.asked += 1;
    const mine = this.asked;
    const isOld = (): boolean => !this.isOpen || this.asked !== mine;
    let wait = PENDING_MS;
    const query = new URLSearchParams({ limit: String(MOST) });
    if (this.only) query.set("status", this.only);
    if (this.chosen) query.set("task", this.chosen);
    try {
      const answer = await ask(`/api/v1/jobs/${this.job}/outputs?${query}`);
      if (!answer.ok) throw new Error(String(answer.status));
      const outputs: Outputs = await answer.json();
      if (isOld()) return;
      // As the other rows of the page name tasks.
      for (const group of outputs.groups) group.task_id = group.task_id.replaceAll("-", "");
      outputs.largest = outputs.largest?.replaceAll("-", "") ?? null;
      this.show(outputs);
      if (outputs.complete && outputs.pending === 0) return;
      if (!outputs.complete) wait = AGAIN_MS;
    } catch {
      if (isOld()) return;
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
    this.largest = outputs.largest ?? "";
    const said: string[] = [];
    if (outputs.total)
      said.push(ngettext("%(num)s kind of output", "%(num)s kinds of output", outputs.total));
    if (outputs.total > outputs.groups.length) said.push(gettext("only the largest are shown"));
    if (!outputs.complete) said.push(gettext("still comparing ..."));
    if (outputs.complete && !outputs.total && !outputs.pending && !this.only)
      said.push(gettext("What it printed is not kept any more."));
    if (outputs.pending)
      said.push(
        ngettext("%(num)s platform has not ended", "%(num)s platforms have not ended", outputs.pending),
      );
    this.note.textContent = said.join(" · ");
    redraw(
      this.list,
      this.groups.map((group) => this.row(group)),
    );
    this.list.hidden = this.groups.length === 0;
    this.mark();
    this.events.show(outputs.complete ? this.groups.length : null);
    const chosen = this.groups.find((group) => group.task_id === this.chosen);
    const first = this.groups[0];
    if (this.isWanted && chosen) this.pick(chosen, false);
    else if (this.isWanted && !this.only) {
      if (!outputs.complete || this.shown) return;
      this.shown = this.chosen;
      this.events.choosePlain(this.chosen);
    } else if (first) this.pick(first, false);
  }

  private row(group: Group): HTMLElement {
    const row = document.createElement("div");
    row.className = "x-group";
    row.id = `group-${group.task_id}`;
    row.dataset.task = group.task_id;
    row.setAttribute("role", "option");
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

  private pick(group: Group, byReader: boolean): void {
    if (byReader) this.isWanted = true;
    const isNew = this.shown !== group.task_id;
    const as = JSON.stringify([group, this.largest]);
    if (!isNew && !byReader && as === this.shownAs) return;
    this.chosen = this.shown = group.task_id;
    this.shownAs = as;
    const row = this.mark();
    if (byReader) row?.scrollIntoView({ block: "nearest" });
    // Nobody asked for it: only the list moves, not the page that it is in.
    else if (isNew && row) this.list.scrollTop = row.offsetTop - this.list.offsetTop;
    this.events.choose(group, this.largest, byReader);
  }

  /** Mark the row of the chosen group; null where it is not in the list. */
  private mark(): HTMLElement | null {
    let chosen: HTMLElement | null = null;
    for (const row of this.list.querySelectorAll<HTMLElement>("[data-task]")) {
      const isChosen = row.dataset.task === this.chosen;
      row.setAttribute("aria-selected", String(isChosen));
      if (isChosen) chosen = row;
    }
    if (chosen) this.list.setAttribute("aria-activedescendant", chosen.id);
    else this.list.removeAttribute("aria-activedescendant");
    return chosen;
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
    if (group) this.pick(group, true);
  }
}

/** Why the tasks of a group failed, in words. */
export function reasonOf(group: Group, words: Vocabulary): string {
  if (!group.error_code) return "";
  const word = words.errors[group.error_code]?.[0] ?? group.error_code;
  return group.exit_code ? `${word} (${group.exit_code})` : word;
}
