// The page of a task: how it stands, and what it printed.
import { renewParts } from "./jobs/fresh";
import { FINAL, stateOf, type Vocabulary } from "./jobs/tasks";
import { OutputViewer } from "./output/viewer";
import { fitToWindow } from "./shell/fit";

function start(root: HTMLElement): void {
  const data = root.dataset;
  const words: Vocabulary = { statuses: JSON.parse(data.words ?? "{}"), errors: {} };
  const over = FINAL.has(data.status ?? "");
  const viewer = new OutputViewer(root, {
    onState: (state) => {
      // What the page says above the output is of the time before the task ended.
      if (state === "ended" && !over) void refresh(words).catch(() => undefined);
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

async function refresh(words: Vocabulary): Promise<void> {
  const page = await renewParts("facts");
  const status = page.getElementById("viewer")?.dataset.status;
  if (status) document.getElementById("task-status")?.replaceChildren(stateOf(status, words));
}

const root = document.getElementById("viewer");
if (root) start(root);
