// The two ways to list a job's platforms, a line for each or one for each kind of output, and what is shown beside them.
// The address says which it is, what is left out of it and, once a person chose or picked lines, of which task.
import { gettext } from "../messages";
import { keepInAddress } from "../output/line_range";
import { toast } from "../shell/toasts";
import { GroupList } from "./groups";
import { TaskList } from "./list";
import { Panel } from "./panel";
import type { Task, Vocabulary } from "./tasks";

type By = "platform" | "output";

/** What the address asks for; empty where it says nothing of it. */
export function asked(name: "by" | "only" | "find"): string {
  return new URLSearchParams(location.search).get(name) ?? "";
}

export class Views {
  private by: By = asked("by") === "output" ? "output" : "platform";
  private only = "";
  private find = asked("find");
  /** The task that the address names in each view. */
  private readonly named: Record<By, string>;
  /** How many lines each view's list has; null: it is not known yet. */
  private readonly counts: Record<By, number | null> = { platform: null, output: null };
  private readonly buttons = document.querySelectorAll<HTMLElement>("[data-by]");
  private readonly panel: Panel;
  private readonly list: TaskList;
  private readonly groups: GroupList;
  private byId: ReadonlyMap<string, Task> = new Map();
  private chosen: Task | undefined;

  /** `wanted`: the task that the address names; empty where it names none. */
  constructor(job: string, words: Vocabulary, tasks: readonly Task[], wanted: string) {
    const named = tasks.find((task) => task.id === wanted);
    const id = named?.id ?? "";
    this.named = { platform: id, output: this.by === "output" ? id : "" };
    this.chosen = named ?? tasks.find((task) => task.status === "failed") ?? tasks[0];
    const field = document.getElementById("find") as HTMLInputElement | null;
    // What was typed while the tasks were on their way counts more.
    if (field) this.find = field.value ||= this.find;
    this.panel = new Panel(words, (task) => this.name(task));
    this.list = new TaskList(
      words,
      (task) => {
        this.chosen = task;
        this.panel.show(task);
        this.name(task.id);
      },
      (count) => this.count("platform", count),
      (find) => {
        this.find = find;
        this.name(this.named[this.by]);
      },
    );
    this.groups = new GroupList(job, words, this.named.output, {
      choose: (group, largest, byReader) => {
        this.panel.showGroup(group, largest);
        if (byReader) this.name(group.task_id);
      },
      choosePlain: (task) => {
        const plain = this.byId.get(task);
        if (plain) this.panel.show(plain);
      },
      show: (count) => this.count("output", count),
    });
    for (const button of this.buttons) {
      button.addEventListener("click", () =>
        this.turn(button.dataset.by === "output" ? "output" : "platform"),
      );
    }
    for (const id of ["tasks", "groups"]) {
      document.getElementById(id)?.addEventListener("click", (event) => {
        if (event.target instanceof Element && event.target.closest("[role=option]")) this.panel.reveal();
      });
    }
    this.update(tasks);
    if (wanted && !named) {
      toast(gettext("The address names a task that this job does not have."), "error");
      // Nor are its lines those of another.
      keepInAddress(null);
      this.name("");
    }
    if (this.chosen) this.list.select(this.chosen);
    this.open();
  }

  /** The tasks have changed, or were read anew. */
  update(tasks: readonly Task[]): void {
    this.byId = new Map(tasks.map((task) => [task.id, task]));
    if (this.chosen) this.chosen = this.byId.get(this.chosen.id);
    this.panel.replace(this.byId);
    this.list.show(tasks);
    this.panel.refresh();
  }

  /** Show only what is in this status; all where it is empty. */
  filter(only: string): void {
    if (only === this.only) return;
    this.only = only;
    this.list.filter(only);
    this.groups.filter(only);
    this.name(this.named[this.by]);
  }

  /** Look for no name any more. */
  findAll(): void {
    this.find = "";
    this.list.findAll();
    this.name(this.named[this.by]);
  }

  private turn(by: By): void {
    if (by === this.by) return;
    this.by = by;
    // The lines are of what was shown before.
    keepInAddress(null);
    this.open();
    this.name(this.named[by]);
  }

  private open(): void {
    const byOutput = this.by === "output";
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.by === this.by));
    }
    const find = document.getElementById("find-platform");
    if (find) find.hidden = byOutput;
    if (byOutput) this.groups.open();
    else {
      this.groups.close();
      if (this.chosen) this.panel.show(this.chosen);
    }
    this.count(this.by, this.counts[this.by]);
  }

  private count(by: By, count: number | null): void {
    this.counts[by] = count;
    const byOutput = this.by === "output";
    const nothing = document.getElementById("nothing");
    // Of groups there may be none without a filter, too: then there is nothing to take away.
    if (nothing) nothing.hidden = this.counts[this.by] !== 0 || (byOutput && !this.only);
    const box = document.getElementById("tasks");
    if (box) box.hidden = byOutput || this.counts.platform === 0;
  }

  /** Keep in the address what is shown, without going there; no task: the page chose it by itself. */
  private name(task: string): void {
    this.named[this.by] = task;
    const address = new URL(location.href);
    for (const [name, value] of [
      ["by", this.by === "output" ? this.by : ""],
      ["only", this.only],
      ["find", this.find],
      ["task", task],
    ] as const) {
      // Taken away first, so that their order does not depend on what was there.
      address.searchParams.delete(name);
      if (value) address.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", address);
  }
}
