// The page of a job: every platform a line in a list that takes ten thousand of them, the counts above it, and the
// output of the one that is chosen. The server tells changes over a WebSocket; they are drawn together.
import { renewParts } from "./jobs/fresh";
import { GroupList } from "./jobs/groups";
import { TaskList } from "./jobs/list";
import { Panel } from "./jobs/panel";
import { Summary } from "./jobs/summary";
import { FINAL, type Task, tasksOf, type Vocabulary } from "./jobs/tasks";
import { type Message, type State, Stream } from "./live/socket";
import { gettext } from "./messages";
import { keepInAddress } from "./output/picked";
import { fitToWindow } from "./shell/fit";
import { toast } from "./shell/toasts";

const DRAW_MS = 200;

/** How the page lists the platforms. */
type By = "platform" | "output";

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
  const wanted = (data.task ?? "").replaceAll("-", "");
  const asked = byId.get(wanted);
  let by: By = new URLSearchParams(location.search).get("by") === "output" ? "output" : "platform";
  /** The task that the address names in each view: one that a person chose, or of which lines were picked. */
  const named: Record<By, string> = { platform: asked?.id ?? "", output: "" };
  if (by === "output") named.output = named.platform;
  const name = (task: string): void => {
    named[by] = task;
    keep({ by: by === "output" ? by : "", task });
  };
  const panel = new Panel(words, name);
  let chosen = asked ?? tasks.find((task) => task.status === "failed") ?? tasks[0];
  let only = "";
  /** How many lines each view's list has; null: it is not known yet. */
  const shown: Record<By, number | null> = { platform: null, output: null };
  const tell = (view: By, count: number | null): void => {
    shown[view] = count;
    const nothing = document.getElementById("nothing");
    // Without a filter there is nothing to take away.
    if (nothing) nothing.hidden = shown[by] !== 0 || (by === "output" && only === "");
    const box = document.getElementById("tasks");
    if (box) box.hidden = by === "output" || shown.platform === 0;
  };
  const list = new TaskList(
    words,
    (task) => {
      chosen = task;
      panel.show(task);
      name(task.id);
    },
    (count) => tell("platform", count),
  );
  const groups = new GroupList(job, words, named.output, {
    choose: (group, largest, byReader) => {
      panel.showGroup(group, largest);
      if (byReader) name(group.task_id);
    },
    choosePlain: (id) => {
      const task = byId.get(id);
      if (task) panel.show(task);
    },
    show: (count) => tell("output", count),
  });
  const show = (view: By): void => {
    by = view;
    for (const button of document.querySelectorAll<HTMLElement>("[data-by]")) {
      button.setAttribute("aria-pressed", String(button.dataset.by === by));
    }
    const find = document.getElementById("find-platform");
    if (find) find.hidden = by === "output";
    if (by === "output") groups.open();
    else {
      groups.close();
      if (chosen) panel.show(chosen);
    }
    tell(by, shown[by]);
  };
  for (const button of document.querySelectorAll<HTMLElement>("[data-by]")) {
    button.addEventListener("click", () => {
      const view = button.dataset.by === "output" ? "output" : "platform";
      if (view === by) return;
      // The lines are of what was shown before.
      keepInAddress(null);
      show(view);
      name(named[view]);
    });
  }
  const summary = new Summary(words, started, Number(data.usual), (status) => {
    only = status;
    list.filter(status);
    groups.filter(status);
  });
  document.getElementById("show-all")?.addEventListener("click", () => {
    list.findAll();
    summary.choose("");
    document.querySelector<HTMLElement>('[data-only=""]')?.focus();
  });

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
  if (wanted && !asked) {
    toast(gettext("The address names a task that this job does not have."), "error");
    // Nor are its lines those of another.
    keepInAddress(null);
    name("");
  }
  if (chosen) list.select(chosen);
  show(by);
  if (over) return;

  summary.run();
  /** What happened is the server's to say, once more and as after a reload. */
  const end = async (status: string): Promise<void> => {
    summary.stop();
    const [fresh] = await Promise.all([load(), renewParts("facts", "usual")]);
    tasks = fresh;
    byId = new Map(fresh.map((task) => [task.id, task]));
    panel.replace(byId);
    summary.finish(status, tasks);
    draw();
  };
  const onMessage = (message: Message): void => {
    if (message.task_id === null) {
      if (message.type === "progress") summary.tell(message.payload.status);
      if (message.type === "done") {
        over = true;
        void end(message.payload.status).catch(failed);
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

function failed(): void {
  toast(gettext("The list of platforms could not be loaded. Load the page again."), "error");
}

/** Keep in the address what is shown, without going there; what is empty needs no saying. */
function keep(values: Record<string, string>): void {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    // Taken away first, so that their order does not depend on what was there.
    address.searchParams.delete(name);
    if (value) address.searchParams.set(name, value);
  }
  history.replaceState(history.state, "", address);
}

const root = document.getElementById("job");
if (root) start(root).catch(failed);
