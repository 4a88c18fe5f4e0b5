// Nobody is thrown out while the page is open: access is renewed before it ends, and once more before anything is
// sent that a lost login would lose. The token that renews it is in a cookie that no script can read.

const seconds = Number(document.body.dataset.accessSeconds ?? "0");
/** Access is renewed when so much of its time is left. */
const MARGIN_MS = Math.min(60_000, seconds * 250);
/** So long is the answer waited for: the connection may be gone without anybody saying so. */
const RENEWAL_MS = 20_000;
let until = Date.now() + seconds * 1000;
let renewing: Promise<boolean> | null = null;

/** Renew access now; false where the login has ended. */
export function renew(): Promise<boolean> {
  renewing ??= ask().finally(() => {
    renewing = null;
  });
  return renewing;
}

async function ask(): Promise<boolean> {
  try {
    const answer = await fetch("/session/renew", {
      method: "POST",
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(RENEWAL_MS),
    });
    if (answer.status < 500 && !answer.ok) return false;
    if (!answer.ok) throw new Error(String(answer.status));
    const body: { expires_in: number } = await answer.json();
    until = Date.now() + body.expires_in * 1000;
  } catch {
    // No answer: what is being sent will tell. Asked again, but not at once.
    until = Date.now() + MARGIN_MS + 5_000;
  }
  return true;
}

/** Access that lasts long enough for a request, renewed if need be; false where the page is left for the login. */
export async function ensureAccess(): Promise<boolean> {
  if (!seconds || Date.now() <= until - MARGIN_MS || (await renew())) return true;
  leaveForLogin();
  return false;
}

/** The login has ended: to the next one, which leads back here. */
export function leaveForLogin(): void {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}&ended=1`);
}

function onSubmit(event: SubmitEvent): void {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || event.defaultPrevented || Date.now() <= until - MARGIN_MS) return;
  event.preventDefault();
  void ensureAccess().then((lasts) => {
    // Not submit(): the button that was pressed goes along.
    if (lasts) form.requestSubmit(event.submitter);
  });
}

export function startSession(): void {
  if (!seconds) return;
  window.setInterval(() => {
    if (!document.hidden) void ensureAccess();
  }, 15_000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void ensureAccess();
  });
  document.addEventListener("submit", onSubmit);
  document.body.addEventListener("htmx:confirm", (event) => {
    // htmx asks before every request; those with a question of their own are left to it.
    const detail = (event as CustomEvent<{ issueRequest: (skip: boolean) => void; question: string | null }>)
      .detail;
    if (Date.now() <= until - MARGIN_MS) return;
    event.preventDefault();
    void ensureAccess().then((lasts) => {
      if (lasts) detail.issueRequest(true);
    });
  });
}
