// The job's platforms, filtered by status and by name.
import { VirtualList } from "../lists/virtual";
import { duration } from "../shell/times";
import { visible } from "../visible";
import { reasonOf, stateOf, type Task, type Vocabulary } from "./tasks";

const ROW_PX = 40;

export class TaskList {
  private readonly list: VirtualList<Task>;
  private tasks: readonly Task[] = [];
  private only = "";
  private find = "";
  private readonly field = document.getElementById("find") as HTMLInputElement | null;

  /** `onShow`: it is told how many platforms are in the list. `onFind`: what is looked for now. */
  constructor(
    words: Vocabulary,
    choose: (task: Task) => void,
    private readonly onShow: (count: number) => void,
    onFind: (find: string) => void,
  ) {
    const box = document.getElementById("tasks");
    if (!box) throw new Error("the page has no place for the list");
    this.list = new VirtualList<Task>(box, ROW_PX, {
      key: (task) => task.id,
      draw: (task, row) => draw(task, row, words),
      choose,
    });
    // It may have been typed in while the tasks were on their way.
    this.find = this.wanted();
    this.field?.addEventListener("input", () => {
      this.find = this.wanted();
      this.apply();
      onFind(this.field?.value ?? "");
    });
  }

  show(tasks: readonly Task[]): void {
    this.tasks = tasks;
    this.apply();
  }

  select(task: Task): void {
    this.list.select(task.id);
  }

  filter(only: string): void {
    this.only = only;
    this.apply();
  }

  /** Look for no name any more. */
  findAll(): void {
    if (this.field) this.field.value = "";
    this.find = "";
    this.apply();
  }

  private wanted(): string {
    return this.field?.value.trim().toLowerCase() ?? "";
  }

  private apply(): void {
    const shown =
      this.only || this.find
        ? this.tasks.filter(
            (task) =>
              (!this.only || task.status === this.only) && task.name.toLowerCase().includes(this.find),
          )
        : this.tasks;
    this.list.show(shown);
    this.onShow(shown.length);
  }
}

function draw(task: Task, row: HTMLElement, words: Vocabulary): void {
  const name = document.createElement("span");
  name.className = "x-row-name x-name";
  name.textContent = visible(task.name);
  const state = stateOf(task.status, words);
  const reason = document.createElement("span");
  reason.className = "x-row-reason";
  reason.textContent = reasonOf(task, words);
  const took = document.createElement("span");
  took.className = "x-row-took";
  if (task.started !== null && task.finished !== null)
    took.textContent = duration(task.finished - task.started);
  row.append(state, name, reason, took);
}
