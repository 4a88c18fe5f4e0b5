// A job's tasks as the page holds them.

export interface Task {
  id: string;
  platform: string;
  name: string;
  status: string;
  exitCode: number | null;
  errorCode: string | null;
  frames: number;
  /** Seconds since 1970. */
  started: number | null;
  /** Seconds; null where it did not begin or is not over. */
  took: number | null;
}

export interface Vocabulary {
  /** For each status its word and its colour. */
  statuses: Record<string, [string, string]>;
  /** For each error what happened, and what to do next. */
  errors: Record<string, [string, string]>;
  /** What testum itself says of how a task ended, by how it is stored. */
  endings: ReadonlyMap<string, string>;
}

export const FINAL: ReadonlySet<string> = new Set(["success", "failed", "cancelled", "lost"]);

type Row = [
  string,
  string,
  string,
  string,
  number | null,
  string | null,
  number,
  number | null,
  number | null,
];

/** The rows of `/jobs/{id}/tasks`. */
export function tasksOf(rows: Row[]): Task[] {
  return rows.map(([id, platform, name, status, exitCode, errorCode, frames, started, took]) => ({
    id,
    platform,
    name,
    status,
    exitCode,
    errorCode,
    frames,
    started,
    took,
  }));
}

/** How many tasks are in each status, and in all. */
export function countsOf(tasks: readonly Task[]): Record<string, number> {
  const counts: Record<string, number> = {
    total: tasks.length,
    pending: 0,
    running: 0,
    success: 0,
    failed: 0,
    cancelled: 0,
    lost: 0,
  };
  for (const task of tasks) counts[task.status] = (counts[task.status] ?? 0) + 1;
  return counts;
}

/** The status as a dot and a word. */
export function stateOf(status: string, words: Vocabulary): HTMLElement {
  const [word, colour] = words.statuses[status] ?? [status, "idle"];
  const state = document.createElement("span");
  state.className = `x-state x-state-${colour}`;
  const said = document.createElement("span");
  said.textContent = word;
  state.append(said);
  return state;
}

/** Why it failed, in words; empty where it did not. */
export function reasonOf(task: Task, words: Vocabulary): string {
  if (!task.errorCode) return "";
  const word = words.errors[task.errorCode]?.[0] ?? task.errorCode;
  return task.exitCode ? `${word} (${task.exitCode})` : word;
}
