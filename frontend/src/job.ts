// The page of a job: every platform a line in a list that takes ten thousand of them, the counts above it, and the
// output of the one that is chosen. The server tells changes over a WebSocket; they are drawn together.
import { GroupList } from "./jobs/groups";
import { TaskList } from "./jobs/list";
import { Panel } from "./jobs/panel";
import { Summary } from "./jobs/summary";
import { FINAL, type Task, tasksOf, type Vocabulary } from "./jobs/tasks";
import { type Message, type State, Stream } from "./live/socket";
import { gettext } from "./messages";
import { fitToWindow } from "./shell/fit";
import { toast } from "./shell/toasts";

const DRAW_MS = 200;

async function start(root: HTMLElement): Promise<void> {
  const data = root.dataset;
  const job = data.job ?? "";
  // By this machine's clock, which may be another than the server's.
  const started = Date.now() / 1000 - Number(data.elapsed);
  const words: Vocabulary = {
    statuses: JSON.parse(data.words ?? "{}"),
    errors: JSON.parse(data.errors ?? "{}"),
  };
  const load = async (): Promise<Task[]> => {
    const answer = await fetch(`/jobs/${job}/tasks`, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    return tasksOf(await answer.json());
  };
  let tasks = await load();
  let byId = new Map(tasks.map((task) => [task.id, task]));
  let over = FINAL.has(data.status ?? "");
  const panel = new Panel(words);
  let chosen: Task | undefined;
  const list = new TaskList(words, (task) => {
    chosen = task;
    panel.show(task);
    const address = new URL(location.href);
    address.searchParams.set("task", task.id);
    history.replaceState(null, "", address);
  });
  const groups = new GroupList(job, words, (group, largest) => panel.showGroup(group, largest));
  const show = (by: "platform" | "output"): void => {
    for (const button of document.querySelectorAll<HTMLElement>("[data-by]")) {
      button.setAttribute("aria-pressed", String(button.dataset.by === by));
    }
    for (const id of ["tasks", "find-platform"]) {
      const part = document.getElementById(id);
      if (part) part.hidden = by === "output";
    }
    if (by === "output") groups.open();
    else {
      groups.close();
      if (chosen) panel.show(chosen);
    }
  };
  for (const button of document.querySelectorAll<HTMLElement>("[data-by]")) {
    button.addEventListener("click", () => show(button.dataset.by === "output" ? "output" : "platform"));
  }
  const summary = new Summary(words, started, Number(data.usual), (only) => list.filter({ only }));

  let drawing = false;
  const draw = (): void => {
    if (drawing) return;
    drawing = true;
    window.setTimeout(() => {
      drawing = false;
      summary.update(tasks);
      list.show(tasks);
      panel.refresh();
    }, DRAW_MS);
  };
  list.show(tasks);
  summary.update(tasks);
  const both = root.querySelector<HTMLElement>(".x-job");
  if (both) fitToWindow(both);
  const named = byId.get((data.task ?? "").replaceAll("-", ""));
  const first = named ?? tasks.find((task) => task.status === "failed") ?? tasks[0];
  if (first) {
    chosen = first;
    list.select(first);
    panel.show(first);
  }
  if (over) return;

  summary.run();
  const onMessage = (message: Message): void => {
    if (message.task_id === null) {
      if (message.type === "progress") summary.tell(message.payload.status);
      if (message.type === "done") {
        over = true;
        void load().then((fresh) => {
          tasks = fresh;
          byId = new Map(fresh.map((task) => [task.id, task]));
          panel.replace(byId);
          summary.finish(message.payload.status, tasks);
          draw();
        });
      }
      return;
    }
    const task = byId.get(message.task_id.replaceAll("-", ""));
    if (!task) return;
    if (message.type === "status" && !FINAL.has(task.status)) {
      task.status = message.payload.status;
      if (task.status === "running") task.started = Date.parse(message.ts) / 1000;
    } else if (message.type === "done") {
      task.status = message.payload.status;
      task.exitCode = message.payload.exit_code;
      task.errorCode = message.payload.error_code;
      task.finished = Date.parse(message.ts) / 1000;
    } else return;
    draw();
  };
  const line = document.getElementById("line");
  const onState = (state: State): void => {
    const said: Record<State, string> = {
      live: gettext("live"),
      waiting: gettext("The connection is lost; trying again ..."),
      ended: "",
      refused: gettext("The server tells no more. Load the page again."),
    };
    if (line) {
      line.textContent = said[state];
      line.dataset.state = state;
    }
  };
  const stream = new Stream(`/ws/jobs/${job}?output=0`, Number(data.after), onMessage, onState);
  window.addEventListener("pagehide", () => stream.close());
}

const root = document.getElementById("job");
if (root) {
  start(root).catch(() =>
    toast(gettext("The list of platforms could not be loaded. Load the page again."), "error"),
  );
}
