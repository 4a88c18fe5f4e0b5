// Small helpers of forms, bound by attributes: parts that show for one choice only, buttons that say that they work,
// text that can be copied, fields that are filled by a click.
import { gettext } from "../messages";
import { ImportProgress } from "./import_progress";
import { toast } from "./toasts";

/** Show `[data-for="name=value|other"]` only while the field of that name has one of these values. */
function showParts(root: ParentNode): void {
  for (const part of root.querySelectorAll<HTMLElement>("[data-for]")) {
    const [name, value] = (part.dataset.for ?? "=").split("=", 2);
    const form = part.closest("form");
    const chosen = form ? new FormData(form).get(name ?? "") : null;
    part.hidden = !(value ?? "").split("|").includes(String(chosen));
    for (const field of part.querySelectorAll<HTMLInputElement>("input, textarea, select")) {
      field.disabled = part.hidden;
    }
  }
}

async function copy(from: HTMLElement): Promise<void> {
  const source = document.getElementById(from.dataset.copy ?? "");
  try {
    await navigator.clipboard.writeText(source?.dataset.text ?? source?.textContent ?? "");
    toast(gettext("Copied."), "success");
  } catch {
    toast(gettext("The browser does not allow copying here. Select the text and copy it."), "error");
  }
}

/** So long is an answer waited for. */
const WAIT_MS = 30_000;

/** A form whose answer has not come yet; by Enter without a button, its first button stands for it. */
class Sending {
  private readonly timer: number;
  private readonly progress: ImportProgress | null = null;

  constructor(
    form: HTMLFormElement,
    private readonly button: HTMLElement | null = form.querySelector("button:not([type=button])"),
  ) {
    this.timer = window.setTimeout(() => release(form), WAIT_MS);
    const adds = this.button?.dataset.adds;
    if (this.button && adds) {
      this.progress = new ImportProgress(this.button, this.button.dataset.addsTo ?? "", Number(adds));
    }
    // After the form was read: a disabled button would not go along.
    window.setTimeout(() => {
      if (underWay.get(form) !== this) return;
      this.button?.classList.add("btn-loading");
      this.button?.setAttribute("aria-busy", "true");
    }, 0);
  }

  end(): void {
    window.clearTimeout(this.timer);
    this.progress?.end();
    this.button?.classList.remove("btn-loading");
    this.button?.removeAttribute("aria-busy");
  }
}

const underWay = new Map<HTMLFormElement, Sending>();
/** What each form that starts a job has sent, and as which job. */
const started = new Map<HTMLFormElement, { what: string; id: string }>();
const opened = Date.now();

function release(form: HTMLFormElement): void {
  underWay.get(form)?.end();
  underWay.delete(form);
}

/** The id for a job that is started now: a UUID of version 7, by the server's clock when it made the field's id and by
 * how long ago that was: the field came with the page, or says when it `arrived`. */
function newId({ newJob = "", arrived = String(opened) }: DOMStringMap): string {
  const made = Number.parseInt(newJob.replaceAll("-", "").slice(0, 12), 16);
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let left = made + Math.max(0, Date.now() - Number(arrived));
  for (let place = 5; place >= 0; place--) {
    bytes[place] = left % 256;
    left = Math.floor(left / 256);
  }
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Name the job that the form starts. The same sent again, as after the browser's stop, is the same job; with another
 * content, or from a page that is shown anew, it is another one. */
function nameJob(form: HTMLFormElement, submitter: HTMLElement | null): void {
  const field = form.querySelector<HTMLInputElement>("input[data-new-job]");
  if (!field) return;
  const data = new FormData(form, submitter);
  data.delete(field.name);
  const what = JSON.stringify([...data]);
  const before = started.get(form);
  const id = before?.what === what ? before.id : newId(field.dataset);
  started.set(form, { what, id });
  field.value = id;
}

/** A form is sent once until its answer is there, whichever key or button sends it. */
function startSending(): void {
  window.addEventListener(
    "submit",
    (event) => {
      if (!(event.target instanceof HTMLFormElement) || !underWay.has(event.target)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );
  // After all others: who prevents it sends it otherwise.
  window.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !(form instanceof HTMLFormElement)) return;
    if (form.getAttribute("method") !== "post") return;
    nameJob(form, event.submitter);
    underWay.set(form, new Sending(form, event.submitter ?? undefined));
  });
  const releaseAll = (): void => {
    for (const form of [...underWay.keys()]) release(form);
  };
  // The key by which the browser stops to wait.
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") releaseAll();
  });
  // Back in the history, nothing is under way, and what is sent is meant anew.
  window.addEventListener("pageshow", () => {
    releaseAll();
    started.clear();
  });
}

/** A page that came as the answer to its own form: Back and a reload bring the form, where browsers would ask whether
 * to send it once more. */
function standInHistoryAsForm(): void {
  if (document.body.dataset.answered === undefined) return;
  const own = [...document.querySelectorAll<HTMLFormElement>("main form[method=post]")];
  if (!own.some((form) => form.getAttribute("action") === location.pathname)) return;
  history.replaceState(history.state, "", location.href);
}

export function startForms(): void {
  standInHistoryAsForm();
  showParts(document);
  // What was sent and refused: on to the first field that must change.
  document
    .querySelector<HTMLElement>(
      "main [data-look-first], main [aria-invalid=true], .x-bare [aria-invalid=true]",
    )
    ?.focus();
  document.addEventListener("change", (event) => {
    const field = event.target instanceof HTMLElement ? event.target : null;
    const form = field?.closest("form");
    if (form) showParts(form);
    if (field?.matches("[data-submit]")) form?.requestSubmit();
  });
  startSending();
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copier = target?.closest<HTMLElement>("[data-copy]");
    if (copier) void copy(copier);
    const filler = target?.closest<HTMLElement>("[data-fill]");
    if (filler) {
      const field = document.getElementById(filler.dataset.fill ?? "");
      if (field instanceof HTMLTextAreaElement || field instanceof HTMLInputElement) {
        field.value = filler.dataset.value ?? "";
        field.dispatchEvent(new Event("input", { bubbles: true }));
        field.focus();
      }
    }
  });
}
