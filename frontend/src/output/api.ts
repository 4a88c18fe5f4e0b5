// The lines API, as the viewer asks it (docs/guide/api.md, "Output").
import { askJson } from "../live/ask";
import { gettext } from "../messages";

export interface Line {
  /** Null in the last lines of an output whose lines are not all counted yet. */
  number: number | null;
  ts: string;
  stream: "stdout" | "stderr";
  text: string;
  /** Start, end, SGR parameters; in characters, not UTF-16 units. */
  styles: [number, number, string][];
  matches: [number, number][];
  length: number;
  cut: boolean;
  open: boolean;
  overwritten: boolean;
}

export interface Page {
  lines: Line[];
  total: number;
  complete: boolean;
  ended: boolean;
  progress: number;
  /** What is stored behind these lines is not what was printed. */
  error_code: string | null;
}

export interface Found {
  count: number;
  hits: number[];
  ordinal: number | null;
  searched: number;
  complete: boolean;
  ended: boolean;
  progress: number;
}

export interface Query {
  text: string;
  case: boolean;
  regex: boolean;
}

/** What to say of output that is not what was stored; empty where the code says nothing of the kind. */
export function faultOf(code: string | null): string {
  if (code === "output_missing")
    return gettext("The stored output is missing: its file or object is gone from the server.");
  if (code === "output_damaged")
    return gettext(
      "The stored output is damaged: what stood behind this on the server is not what was printed.",
    );
  return "";
}

/** One task's output. */
export class OutputApi {
  private readonly root: string;

  constructor(readonly taskId: string) {
    this.root = `/api/v1/tasks/${taskId}`;
  }

  page(from: number, limit: number, query: Query | null, signal?: AbortSignal): Promise<Page> {
    return get(`${this.root}/lines`, { from, limit, ...asked(query) }, signal);
  }

  tail(limit: number, query: Query | null, signal?: AbortSignal): Promise<Page> {
    return get(`${this.root}/lines`, { tail: true, limit, ...asked(query) }, signal);
  }

  search(
    query: Query,
    from: number,
    direction: "next" | "previous",
    limit: number,
    signal?: AbortSignal,
  ): Promise<Found> {
    return get(`${this.root}/lines/search`, { ...asked(query), from, direction, limit }, signal);
  }

  download(timestamps: boolean): string {
    return `${this.root}/output${timestamps ? "?timestamps=true" : ""}`;
  }
}

function asked(query: Query | null): Record<string, string | boolean> {
  return query ? { q: query.text, case: query.case, regex: query.regex } : {};
}

async function get<Answer>(
  path: string,
  values: Record<string, string | number | boolean>,
  signal?: AbortSignal,
): Promise<Answer> {
  const url = new URL(path, location.href);
  for (const [name, value] of Object.entries(values)) url.searchParams.set(name, String(value));
  return await askJson<Answer>(url, { signal });
}
