// The commands that were run before, in the field of the run page: Alt and the arrows go through them, and those that
// have in them what is typed are offered in a list below. Nothing is taken from the list that was not chosen in it.
import { visible } from "../visible";

const MOST = 8;

/** The commands that have the text in them, those that begin with it first; in each part the last run comes first. */
function matching(commands: readonly string[], text: string): string[] {
  const wanted = text.trimStart().toLowerCase();
  if (!wanted) return [];
  const found = commands.filter((each) => each !== text && each.toLowerCase().includes(wanted));
  const begins = (each: string): number => Number(!each.toLowerCase().startsWith(wanted));
  return found.sort((one, other) => begins(one) - begins(other)).slice(0, MOST);
}

class Completions {
  private offered: string[] = [];
  private active = -1;

  constructor(
    private readonly field: HTMLTextAreaElement,
    private readonly list: HTMLElement,
    commands: readonly string[],
  ) {
    field.setAttribute("role", "combobox");
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    this.show([]);
    field.addEventListener("input", (event) => {
      // A field that is filled by a click or by a script needs no offers.
      if (event instanceof InputEvent) this.show(matching(commands, field.value));
    });
    field.addEventListener("keydown", (event) => this.onKey(event));
    field.addEventListener("blur", () => this.show([]));
    // The focus stays in the field.
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option =
        event.target instanceof Element ? event.target.closest<HTMLElement>("[data-index]") : null;
      if (option) this.take(Number(option.dataset.index));
    });
  }

  private show(offered: string[]): void {
    this.offered = offered;
    this.list.replaceChildren(
      ...offered.map((command, index) => {
        const option = document.createElement("div");
        option.id = `completion-${index}`;
        option.className = "x-completion x-mono x-clip";
        option.dataset.index = String(index);
        option.setAttribute("role", "option");
        option.title = visible(command);
        option.textContent = visible(command).replace(/\s*\n\s*/g, " \u23ce ");
        return option;
      }),
    );
    this.list.hidden = offered.length === 0;
    this.field.setAttribute("aria-expanded", String(offered.length > 0));
    this.activate(-1);
  }

  private activate(index: number): void {
    this.active = index;
    for (const [place, option] of [...this.list.children].entries()) {
      option.setAttribute("aria-selected", String(place === index));
      if (place === index) option.scrollIntoView({ block: "nearest" });
    }
    if (index < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", `completion-${index}`);
  }

  private take(index: number): void {
    const command = this.offered[index];
    if (command === undefined) return;
    this.field.value = command;
    this.field.setSelectionRange(command.length, command.length);
    this.show([]);
  }

  private onKey(event: KeyboardEvent): void {
    if (this.offered.length === 0 || event.isComposing) return;
    if (event.altKey || event.ctrlKey || event.metaKey) {
      // Alt and an arrow put another command there, Ctrl and Enter run it.
      if (event.key.startsWith("Arrow") || event.key === "Enter") this.show([]);
      return;
    }
    switch (event.key) {
      case "ArrowDown":
        // From a line above, down leads to the next line.
        if (this.active < 0 && this.field.value.indexOf("\n", this.field.selectionEnd) >= 0) return;
        this.activate(this.active + 1 < this.offered.length ? this.active + 1 : -1);
        break;
      case "ArrowUp":
        if (this.active < 0 && this.field.value.lastIndexOf("\n", this.field.selectionStart - 1) >= 0) return;
        this.activate(this.active < 0 ? this.offered.length - 1 : this.active - 1);
        break;
      case "Enter":
      case "Tab":
        if (this.active < 0 || event.shiftKey) {
          this.show([]);
          return;
        }
        this.take(this.active);
        break;
      case "Escape":
        this.show([]);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

function startPlaces(field: HTMLTextAreaElement, commands: readonly string[]): void {
  let place = -1;
  let typed = "";
  field.addEventListener("keydown", (event) => {
    if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    if (place === -1) typed = field.value;
    place = Math.max(-1, Math.min(commands.length - 1, place + (event.key === "ArrowUp" ? 1 : -1)));
    field.value = place === -1 ? typed : (commands[place] ?? "");
  });
}

export function startHistory(): void {
  const field = document.querySelector<HTMLTextAreaElement>("[data-history]");
  if (!field) return;
  // Enter makes a new line; with Ctrl it runs.
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat)
      field.form?.requestSubmit();
  });
  const stored = document.getElementById("history")?.textContent;
  const list = document.getElementById("completions");
  if (!stored || !list) return;
  const commands: string[] = JSON.parse(stored);
  new Completions(field, list, commands);
  startPlaces(field, commands);
}
