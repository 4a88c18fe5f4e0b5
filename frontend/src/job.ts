// The page of a job: every platform a line in a list that takes ten thousand of them, the counts above it, and the
// output of the one that is chosen. The server tells changes over a WebSocket; they are drawn together.
import { renewParts } from "./jobs/renew_parts";
import { Summary } from "./jobs/summary";
import { FINAL, type Task, tasksOf, type Vocabulary } from "./jobs/tasks";
import { asked, Views } from "./jobs/views";
import { askJson, Refused } from "./live/ask";
import { type Message, type State, Stream } from "./live/socket";
import { gettext } from "./messages";
import { fitToWindow } from "./shell/fit";
import { toast } from "./shell/toasts";

const DRAW_MS = 200;
const AGAIN_MS = 3_000;

async function start(root: HTMLElement): Promise<void> {
  const data = root.dataset;
  const job = data.job ?? "";
  const opened = performance.now();
  const words: Vocabulary = {
    statuses: JSON.parse(data.words ?? "{}"),
    errors: JSON.parse(data.errors ?? "{}"),
    endings: new Map(Object.entries(JSON.parse(data.endings ?? "{}"))),
  };
  const load = async (): Promise<Task[]> => tasksOf(await askJson(`/jobs/${job}/tasks`));
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
  /** Ask until there is an answer, or the server refuses. */
  const persist = async <Answer>(get: () => Promise<Answer>): Promise<Answer> => {
    for (;;) {
      try {
        return await get();
      } catch (error) {
        if (error instanceof Refused) throw error;
        onState("waiting");
        await new Promise((done) => window.setTimeout(done, AGAIN_MS));
      }
    }
  };
  const pressAgain = pressedMeanwhile(root, "[data-by], [data-only]");
  let tasks = await persist(load);
  let byId = new Map(tasks.map((task) => [task.id, task]));
  const over = FINAL.has(data.status ?? "");
  const summary = new Summary(words, Number(data.usual), (only) => views.filter(only));
  summary.update(tasks);
  const both = root.querySelector<HTMLElement>(".x-job");
  if (both) fitToWindow(both);
  const views = new Views(job, words, tasks, (data.task ?? "").replaceAll("-", ""));
  document.getElementById("show-all")?.addEventListener("click", () => {
    views.findAll();
    summary.choose("");
    document.querySelector<HTMLElement>('[data-only=""]')?.focus();
  });
  summary.choose(asked("only"));
  pressAgain();

  let drawing = false;
  const draw = (): void => {
    if (drawing) return;
    drawing = true;
    window.setTimeout(() => {
      drawing = false;
      summary.update(tasks);
      views.update(tasks);
    }, DRAW_MS);
  };
  if (over) {
    onState("ended");
    return;
  }

  summary.run(Number(data.elapsed) + (performance.now() - opened) / 1000);
  /** What happened is the server's to say, once more and as after a reload. */
  const end = async (status: string): Promise<void> => {
    summary.stop();
    const [fresh] = await persist(() => Promise.all([load(), renewParts("facts", "usual")]));
    onState("ended");
    tasks = fresh;
    byId = new Map(fresh.map((task) => [task.id, task]));
    summary.finish(status, tasks);
    draw();
  };
  const onMessage = (message: Message): void => {
    if (message.task_id === null) {
      if (message.type === "progress") summary.tell(message.data.status);
      if (message.type === "done") {
        end(message.data.status).catch(failed);
      }
      return;
    }
    const task = byId.get(message.task_id.replaceAll("-", ""));
    if (!task) return;
    if (message.type === "status" && !FINAL.has(task.status)) {
      task.status = message.data.status;
      if (task.status === "running") task.started = Date.parse(message.ts) / 1000;
    } else if (message.type === "done") {
      task.status = message.data.status;
      task.exitCode = message.data.exit_code;
      task.errorCode = message.data.error_code;
      task.took = message.data.duration_seconds;
    } else return;
    draw();
  };
  const stream = new Stream(`/ws/jobs/${job}?output=0`, Number(data.after), onMessage, onState);
  window.addEventListener("pagehide", () => stream.close());
}

/** What is pressed while the list is on its way is remembered; the function that is returned presses it again. */
function pressedMeanwhile(root: HTMLElement, buttons: string): () => void {
  const pressed: HTMLElement[] = [];
  const remember = (event: MouseEvent): void => {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>(buttons) : null;
    if (button) pressed.push(button);
  };
  root.addEventListener("click", remember);
  return () => {
    root.removeEventListener("click", remember);
    for (const button of pressed) button.click();
  };
}

function failed(): void {
  toast(gettext("The list of platforms could not be loaded. Load the page again."), "error");
}

const root = document.getElementById("job");
if (root) start(root).catch(failed);
