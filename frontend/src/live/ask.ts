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
