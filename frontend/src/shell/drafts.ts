// What is typed into a form is not lost with the page: forms marked `data-draft` are kept in this tab's storage until
// they are sent, given up, or the person logs out. Each draft belongs to an account and an address. Secrets are never
// kept.
import { gettext } from "../messages";

const PREFIX = "draft";
const SAVE_AFTER_MS = 300;
const MOST_BYTES = 1_000_000;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
/** What a list of hosts with secrets in it has in its text. */
const NAMES_A_SECRET = /pass(word|phrase|wd)|[_-]pass\b|private_?key\b/i;

interface Kept {
  /** The values of each name, in order; of boxes and choices those that are ticked. */
  fields: Record<string, string[]>;
  /** The content of each `data-draft-part`, by id. */
  parts: Record<string, string>;
  /** Whether there was a secret, too, which is not kept. */
  secret: boolean;
}

interface Draft extends Kept {
  at: number;
  /** It was sent, and no answer has been seen yet. */
  sent: boolean;
}

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

const account = document.body.dataset.account ?? "";

function keyOf(address: string): string {
  return `${PREFIX} ${encodeURIComponent(account)} ${address}`;
}

function addressOf(key: string): string {
  return key.split(" ")[2] ?? "";
}

function pathOf(address: string): string {
  return address.split("?")[0] ?? "";
}

/** The keys of all drafts in this tab; none where the browser keeps nothing. */
function keys(): string[] {
  try {
    return Object.keys(sessionStorage).filter((key) => key.startsWith(`${PREFIX} `));
  } catch {
    return [];
  }
}

/** The keys of this account's drafts for this page, whatever else its address says. */
function drafts(): string[] {
  return keys().filter((key) => key.startsWith(keyOf("")) && pathOf(addressOf(key)) === location.pathname);
}

function read(key: string): Draft | null {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

function write(key: string, draft: Draft): void {
  const text = JSON.stringify(draft);
  try {
    if (new Blob([text]).size > MOST_BYTES) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, text);
  } catch {
    // The storage is full or switched off: nothing is kept, and nothing else suffers.
  }
}

function forget(key: string): void {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // Where there is no storage there is no draft.
  }
}

function isSecret(field: Field): boolean {
  if (field.type === "password" || field.type === "file" || field.dataset.secret !== undefined) return true;
  if (PRIVATE_KEY.test(field.value)) return true;
  return field.dataset.mayHoldSecrets !== undefined && NAMES_A_SECRET.test(field.value);
}

function fieldsOf(form: HTMLFormElement): Field[] {
  return [...form.elements].filter(
    (each): each is Field =>
      (each instanceof HTMLInputElement ||
        each instanceof HTMLTextAreaElement ||
        each instanceof HTMLSelectElement) &&
      each.name !== "" &&
      each.dataset.newJob === undefined &&
      !each.closest("[data-draft-part]"),
  );
}

function hasTick(field: Field): field is HTMLInputElement {
  return field instanceof HTMLInputElement && (field.type === "radio" || field.type === "checkbox");
}

/** What a part of a form shows now, as HTML: fields that scripts have filled say so only as properties. */
function markup(part: Element): string {
  const copy = part.cloneNode(true) as Element;
  const now = part.querySelectorAll<HTMLTextAreaElement>("textarea");
  for (const [place, area] of copy.querySelectorAll("textarea").entries()) {
    area.textContent = now[place]?.value ?? "";
  }
  return copy.innerHTML.trim();
}

/** The values of the fields as the page came: browsers put back what was typed before scripts see it. */
function given(field: Field): string {
  if (!(field instanceof HTMLSelectElement)) return field.defaultValue;
  const options = [...field.options];
  return (options.find((each) => each.defaultSelected) ?? options[0])?.value ?? "";
}

function look(form: HTMLFormElement, asGiven = false): Kept {
  const kept: Kept = { fields: {}, parts: {}, secret: false };
  for (const field of fieldsOf(form)) {
    if (isSecret(field)) {
      kept.secret ||= !asGiven && field.value !== "";
      if (field.dataset.mayHoldSecrets === undefined || !asGiven) continue;
    }
    const values = kept.fields[field.name] ?? [];
    kept.fields[field.name] = values;
    if (!hasTick(field)) values.push(asGiven ? given(field) : field.value);
    else if (asGiven ? field.defaultChecked : field.checked) values.push(field.value);
  }
  for (const part of form.querySelectorAll("[data-draft-part]")) kept.parts[part.id] = markup(part);
  return kept;
}

function fill(form: HTMLFormElement, kept: Kept): void {
  const places: Record<string, number> = {};
  for (const field of fieldsOf(form)) {
    const values = kept.fields[field.name];
    if (!values || isSecret(field)) continue;
    if (hasTick(field)) {
      field.checked = values.includes(field.value);
      continue;
    }
    const place = places[field.name] ?? 0;
    places[field.name] = place + 1;
    const value = values[place];
    if (value === undefined) continue;
    // A choice that is no longer offered leaves the one that is shown.
    if (!(field instanceof HTMLSelectElement) || [...field.options].some((each) => each.value === value)) {
      field.value = value;
    }
  }
  for (const part of form.querySelectorAll("[data-draft-part]")) {
    const page = new DOMParser().parseFromString(kept.parts[part.id] ?? "", "text/html");
    part.replaceChildren(...page.body.childNodes);
  }
  for (const details of form.querySelectorAll("details")) {
    details.open ||= [...details.querySelectorAll("input, textarea")].some(
      (each) =>
        (each instanceof HTMLInputElement || each instanceof HTMLTextAreaElement) &&
        each.value !== each.defaultValue,
    );
  }
}

/** Say that the draft is here again, and offer the form as it was before. */
function say(form: HTMLFormElement, said: string[], isOld: boolean): void {
  const note = document.createElement("div");
  note.className = isOld ? "x-note x-note-warn x-draft" : "x-note x-draft";
  note.setAttribute("role", "status");
  const words = document.createElement("div");
  words.textContent = said.join(" ");
  const away = document.createElement("button");
  away.type = "button";
  away.className = "btn btn-sm";
  away.dataset.draftDiscard = "anew";
  away.textContent = gettext("Begin anew");
  note.append(words, away);
  (form.querySelector(".card-body") ?? form).prepend(note);
}

class Drafts {
  private readonly key: string;
  /** The form as the server gave it; null where it gave back what was typed and not taken. */
  private readonly before: string | null;
  private timer = 0;
  /** Nothing is kept any more: it was sent or given up. */
  private closed = false;

  constructor(private readonly form: HTMLFormElement) {
    const own = keyOf(location.pathname + location.search);
    const answered = document.body.dataset.answered !== undefined;
    // What was refused goes on as the draft that was sent, which may have been begun at a longer address.
    this.key = (answered && drafts().find((key) => read(key)?.sent)) || own;
    this.before = answered ? null : JSON.stringify(look(form, true));
    if (!answered) this.restore();
    form.addEventListener("input", () => this.soon());
    form.addEventListener("change", () => this.soon());
    document.addEventListener("submit", (event) => {
      if (event.target !== form || event.defaultPrevented) return;
      this.save(true);
      this.closed = true;
    });
    document.addEventListener("click", (event) => {
      const target = event.target instanceof Element ? event.target : null;
      const away = target?.closest<HTMLElement>("[data-draft-discard]");
      // With one of these keys a link opens beside this page.
      if (!away || event.ctrlKey || event.metaKey || event.shiftKey) return;
      this.discard();
      if (away.dataset.draftDiscard) location.replace(location.pathname + location.search);
    });
    window.addEventListener("pagehide", () => this.save());
  }

  private soon(): void {
    this.closed = false;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.save(), SAVE_AFTER_MS);
  }

  private save(sent = false): void {
    window.clearTimeout(this.timer);
    if (this.closed) return;
    const kept = look(this.form);
    if (JSON.stringify(kept) === this.before) forget(this.key);
    else write(this.key, { ...kept, at: Date.now(), sent });
  }

  discard(): void {
    window.clearTimeout(this.timer);
    forget(this.key);
    this.closed = true;
  }

  private restore(): void {
    const found = this.find();
    const draft = found ? read(found) : null;
    if (!found || !draft) return;
    if (found !== this.key) forget(found);
    const revision = this.form.querySelector<HTMLInputElement>("[data-draft-revision]");
    const stored = revision?.value;
    fill(this.form, draft);
    write(this.key, { ...draft, sent: false });
    const said: string[] = [];
    if (JSON.stringify(look(this.form)) !== this.before)
      said.push(gettext("What you had typed is here again."));
    const isOld = revision?.value !== stored;
    if (isOld) {
      said.push(
        gettext("What is stored has been changed since you began; saving will first show what differs."),
      );
    }
    if (draft.secret) said.push(gettext("Passwords and private keys are never kept: type them again."));
    if (said.length) say(this.form, said, isOld);
  }

  /** The draft of this very address; where the address asks for nothing special, the last one of its page. */
  private find(): string | undefined {
    const found = drafts();
    if (found.includes(this.key)) return this.key;
    if (location.search) return undefined;
    const last = (key: string): number => read(key)?.at ?? 0;
    return found.sort((one, other) => last(other) - last(one))[0];
  }
}

/** What has become of the drafts that were sent: the page that came shows it. */
function settle(): void {
  const refused = !account || document.querySelector("[data-failed]") !== null;
  for (const key of keys()) {
    const draft = read(key);
    if (!draft?.sent) continue;
    if (refused) write(key, { ...draft, sent: false });
    else if (pathOf(addressOf(key)) !== location.pathname) forget(key);
  }
}

export function startDrafts(): void {
  settle();
  const kept = document.querySelector<HTMLElement>("[data-draft-kept]");
  if (kept) {
    const path = pathOf(kept.dataset.draftKept ?? "");
    kept.hidden = !keys().some((key) => pathOf(addressOf(key)) === path);
  }
  const form = document.querySelector<HTMLFormElement>("form[data-draft]");
  const draft = form ? new Drafts(form) : null;
  document.addEventListener("submit", (event) => {
    if (!(event.target instanceof HTMLFormElement) || !event.target.matches('[action="/logout"]')) return;
    draft?.discard();
    for (const key of keys()) forget(key);
  });
}
