// The page of a task: how it stands, and what it printed.
import { renewParts } from "./jobs/renew_parts";
import { FINAL, stateOf, type Vocabulary } from "./jobs/tasks";
import { OutputViewer } from "./output/viewer";
import { fitToWindow } from "./shell/fit";
import { tick } from "./shell/times";

function start(root: HTMLElement): void {
  const data = root.dataset;
  const words: Vocabulary = { statuses: JSON.parse(data.words ?? "{}"), errors: {}, endings: new Map() };
  const over = FINAL.has(data.status ?? "");
  let status = data.status ?? "";
  let stop = over ? () => undefined : tick(Number(data.elapsed));
  const show = async (): Promise<void> => {
    stop();
    const page = await renewParts("facts");
    const fresh = page.getElementById("viewer")?.dataset;
    if (!fresh?.status) return;
    status = fresh.status;
    document.getElementById("task-status")?.replaceChildren(stateOf(status, words));
    if (!FINAL.has(status)) stop = tick(Number(fresh.elapsed));
  };
  let last: Promise<void> = Promise.resolve();
  /** What the page says above the output is of an earlier time. One after the other: the last word is the newest. */
  const refresh = (): void => {
    last = last.then(show).catch(() => undefined);
  };
  const viewer = new OutputViewer(root, {
    onState: (state) => {
      if (state === "ended" && !over) refresh();
    },
    onRunning: () => {
      if (status === "pending") refresh();
    },
  });
  viewer.open({
    id: data.task ?? "",
    atEnd: data.status !== "success",
    started: data.started ? Number(data.started) : null,
  });
  window.addEventListener("pagehide", () => viewer.close());
  if (root.parentElement) fitToWindow(root.parentElement);
}

const root = document.getElementById("viewer");
if (root) start(root);
