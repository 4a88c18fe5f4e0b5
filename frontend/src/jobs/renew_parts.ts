// Parts of a page as the server shows them now, in the place of those that it showed before.
import { ask } from "../live/ask";
import { showTimes } from "../shell/times";

/** Fetch this page anew and renew its parts of these ids; the whole page as it is now. Raises where it does not come. */
export async function renewParts(...ids: string[]): Promise<Document> {
  const answer = await ask(location.pathname, { accept: "text/html" });
  if (!answer.ok) throw new Error(String(answer.status));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ids) {
    const fresh = page.getElementById(id);
    if (!fresh) continue;
    const part = document.adoptNode(fresh);
    showTimes(part);
    document.getElementById(id)?.replaceWith(part);
  }
  return page;
}
