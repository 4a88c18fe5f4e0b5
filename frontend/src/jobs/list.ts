// The job's platforms, filtered by status and by name.
import { VirtualList } from "../lists/virtual";
import { duration } from "../shell/times";
import { visible } from "../visible";
import { reasonOf, stateOf, type Task, type Vocabulary } from "./tasks";

const ROW_PX = 40;
/** It draws nothing: it knows how wide words are. */
const PEN = document.createElement("canvas").getContext("2d");

export class TaskList {
  private readonly box: HTMLElement;
  private readonly list: VirtualList<Task>;
  private tasks: readonly Task[] = [];
  private only = "";
  private find = "";
  private readonly field = document.getElementById("find") as HTMLInputElement | null;

  /** `onShow`: it is told how many platforms are in the list. `onFind`: what is looked for now. */
  constructor(
    private readonly words: Vocabulary,
    choose: (task: Task) => void,
    private readonly onShow: (count: number) => void,
    onFind: (find: string) => void,
  ) {
    const box = document.getElementById("tasks");
    if (!box) throw new Error("the page has no place for the list");
    this.box = box;
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
    this.leaveRoom();
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

  /** The names begin below each other: before them is room for the longest word of those that are there, no more. */
  private leaveRoom(): void {
    const { fontFamily, fontSize } = getComputedStyle(this.box);
    let most = 0;
    if (PEN) PEN.font = `500 ${fontSize} ${fontFamily}`;
    for (const status of new Set(this.tasks.map((task) => task.status))) {
      const word = this.words.statuses[status]?.[0] ?? status;
      most = Math.max(most, PEN?.measureText(word).width ?? 0);
    }
    this.box.style.setProperty("--x-state-word", `${Math.ceil(most)}px`);
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
  const state = stateOf(task.status, words);
  // Where its word does not fit, the pointer finds it here.
  state.title = state.textContent ?? "";
  const text = document.createElement("span");
  text.className = "x-row-text";
  const name = document.createElement("span");
  name.className = "x-row-name x-name";
  name.textContent = visible(task.name);
  text.append(name);
  const why = reasonOf(task, words);
  if (why) {
    const reason = document.createElement("span");
    reason.className = "x-row-reason";
    reason.textContent = why;
    text.append(reason);
  }
  text.title = [name.textContent, why].filter(Boolean).join(": ");
  const took = document.createElement("span");
  took.className = "x-row-took";
  if (task.took !== null) took.textContent = duration(task.took);
  row.append(state, text, took);
}
