// "Test connection" in the form of a platform: what is typed is tried, and nothing is saved. A second press, a change
// of what is being tried, or leaving the page ends it.
import { formatNumber, gettext } from "../messages";
import { ensureAccess } from "./session";

const FIELDS = new Set([
  "host",
  "port",
  "username",
  "login",
  "password",
  "private_key",
  "passphrase",
  "key_id",
  "jump",
  "zone",
  "host_key_policy",
  "known_host_key",
]);

class Trial {
  private running: AbortController | null = null;
  private readonly button: HTMLElement | null;
  private readonly label: HTMLElement | null;
  private readonly result: HTMLElement | null;
  private readonly word: string;

  constructor(
    private readonly root: HTMLElement,
    private readonly form: HTMLFormElement,
  ) {
    this.button = root.querySelector<HTMLElement>("[data-try-button]");
    this.label = root.querySelector<HTMLElement>("[data-try-label]");
    this.result = root.querySelector<HTMLElement>("[data-try-result]");
    this.word = this.label?.textContent ?? "";
    this.button?.addEventListener("click", () => {
      if (this.running) this.stop(gettext("The test was cancelled."));
      else void this.run();
    });
    form.addEventListener("input", (event) => this.onInput(event));
    root.addEventListener("change", (event) => this.onTrust(event));
    window.addEventListener("pagehide", () => this.stop(""));
  }

  private async run(): Promise<void> {
    const controller = new AbortController();
    this.running = controller;
    if (this.label) this.label.textContent = gettext("Cancel the test");
    const clock = this.wait();
    try {
      if (!(await ensureAccess())) return;
      const answer = await fetch(this.root.dataset.try ?? "", {
        method: "POST",
        body: new FormData(this.form),
        headers: { "HX-Request": "true" },
        signal: controller.signal,
      });
      const text = await answer.text();
      if (this.running !== controller) return;
      const elsewhere = answer.headers.get("HX-Redirect");
      if (elsewhere) {
        location.assign(elsewhere);
        return;
      }
      if (answer.ok || answer.status === 422) this.show(text);
      else this.say(decodeURIComponent(answer.headers.get("X-Message") ?? "") || this.failed());
    } catch {
      if (this.running === controller) this.say(this.failed());
    } finally {
      window.clearInterval(clock);
      if (this.running === controller) this.rest();
    }
  }

  private failed(): string {
    return gettext("The test could not be made: the server did not answer. Try again.");
  }

  /** Say that it is under way, and for how long; the seconds are for eyes alone. */
  private wait(): number {
    const spinner = document.createElement("span");
    spinner.className = "spinner-border spinner-border-sm";
    spinner.setAttribute("aria-hidden", "true");
    const seconds = document.createElement("span");
    seconds.className = "x-muted";
    seconds.setAttribute("aria-hidden", "true");
    const line = document.createElement("p");
    line.className = "x-try-wait";
    line.append(spinner, gettext("Connecting ..."), seconds);
    this.result?.replaceChildren(line);
    const begun = Date.now();
    return window.setInterval(() => {
      const passed = Math.round((Date.now() - begun) / 1000);
      seconds.textContent = gettext("%(number)s s", { number: formatNumber(passed) });
    }, 1000);
  }

  /** End the test, if one is under way, and say why. */
  private stop(why: string): void {
    const running = this.running;
    if (!running) return;
    this.rest();
    running.abort();
    this.say(why);
  }

  private rest(): void {
    this.running = null;
    if (this.label) this.label.textContent = this.word;
  }

  private show(html: string): void {
    const page = new DOMParser().parseFromString(html, "text/html");
    this.result?.replaceChildren(...page.body.childNodes);
  }

  private say(text: string): void {
    const line = document.createElement("p");
    line.className = "x-muted m-0";
    line.textContent = text;
    this.result?.replaceChildren(line);
  }

  private onInput(event: Event): void {
    const field = event.target;
    if (!(field instanceof HTMLElement) || !FIELDS.has(field.getAttribute("name") ?? "")) return;
    if (!this.running && !this.result?.childElementCount) return;
    const said = gettext("What is tested has changed since. Test it again.");
    if (this.running) this.stop(said);
    else this.say(said);
  }

  /** The key that was shown goes into the field of the trusted one, and is saved with the form. */
  private onTrust(event: Event): void {
    const box = event.target;
    const field = this.form.elements.namedItem("known_host_key");
    if (!(box instanceof HTMLInputElement) || !(field instanceof HTMLTextAreaElement)) return;
    if (box.dataset.trustKey === undefined) return;
    field.value = box.checked ? box.dataset.trustKey : "";
  }
}

export function startConnectionTest(): void {
  const root = document.querySelector<HTMLElement>("[data-try]");
  const form = root?.closest("form");
  if (root && form) new Trial(root, form);
}
