// How far a form has come that adds many: while its answer is waited for, what is stored grows.
import { formatNumber, gettext } from "../messages";

const AGAIN_MS = 500;
/** What is over sooner needs no bar. */
const FIRST_MS = 1_000;

/** The bar that stands beside the button `[data-adds]`, from when its form is sent. */
export class ImportProgress {
  private readonly bar = document.createElement("progress");
  private readonly said = document.createElement("span");
  private readonly box = document.createElement("div");
  private timer: number;
  private before: number | null = null;
  private isOver = false;

  /** `path`: a list of the API; its header says how many there are. `adds`: how many will come to them. */
  constructor(
    button: HTMLElement,
    private readonly path: string,
    private readonly adds: number,
  ) {
    this.bar.max = adds;
    this.bar.setAttribute("aria-label", gettext("Added so far"));
    this.box.className = "x-import-progress";
    this.box.append(this.bar, this.said);
    this.timer = window.setTimeout(() => {
      button.before(this.box);
      void this.look();
    }, FIRST_MS);
    void this.count();
  }

  end(): void {
    this.isOver = true;
    window.clearTimeout(this.timer);
    this.box.remove();
  }

  private async count(): Promise<number | null> {
    try {
      const answer = await fetch(this.path, { cache: "no-store" });
      const count = answer.ok ? Number(answer.headers.get("X-Total-Count")) : null;
      if (count !== null) this.before ??= count;
      return count;
    } catch {
      // The form's own answer says what is wrong.
      return null;
    }
  }

  private async look(): Promise<void> {
    const count = await this.count();
    if (this.isOver) return;
    // Others may add some, too.
    if (count !== null && this.before !== null)
      this.show(Math.min(this.adds, Math.max(0, count - this.before)));
    this.timer = window.setTimeout(() => void this.look(), AGAIN_MS);
  }

  private show(added: number): void {
    // Nothing is added before all was looked at: then nobody knows how long it takes.
    if (added) this.bar.value = added;
    this.said.textContent = added
      ? gettext("%(num)s of %(total)s added", { num: formatNumber(added), total: formatNumber(this.adds) })
      : gettext("Looking at all %(total)s ...", { total: formatNumber(this.adds) });
  }
}
