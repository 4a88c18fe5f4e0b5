// Asking the server for something to show.
import { leaveForLogin, renew } from "../shell/session";

/** So long is an answer waited for: a connection may be gone without anybody saying so. */
const ANSWER_MS = 30_000;

interface Asking {
  accept?: string;
  signal?: AbortSignal | undefined;
}

/** Ask, once more where access had to be renewed. Where the login has ended, the page is left for another one. */
export async function ask(
  address: URL | string,
  { accept = "application/json", signal }: Asking = {},
): Promise<Response> {
  const once = (): Promise<Response> => {
    const late = AbortSignal.timeout(ANSWER_MS);
    return fetch(address, {
      cache: "no-store",
      headers: { Accept: accept },
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
  };
  const answer = await once();
  if (answer.status !== 401) return answer;
  if (await renew()) return await once();
  leaveForLogin();
  return answer;
}

interface Problem {
  detail?: string;
  code?: string;
  errors?: { message: string }[];
}

/** The server said no; asking again will not help. */
export class Refused extends Error {
  readonly code: string;
  /** What is wrong with the one value that is at fault. */
  readonly reason: string;

  constructor(
    readonly status: number,
    problem: Problem,
  ) {
    super(problem.detail ?? String(status));
    this.code = problem.code ?? "";
    this.reason = problem.errors?.[0]?.message ?? this.message;
  }
}

/** Ask for JSON. Raises `Refused` where the server says no, another error where it could not answer: try again then. */
export async function askJson<Answer>(address: URL | string, asking: Asking = {}): Promise<Answer> {
  const answer = await ask(address, asking);
  if (answer.ok) return (await answer.json()) as Answer;
  if (answer.status >= 500 || answer.status === 429) throw new Error(String(answer.status));
  throw new Refused(answer.status, await answer.json().catch(() => ({})));
}
