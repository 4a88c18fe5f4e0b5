// Dialogs are the browser's own: it holds the focus inside, and Escape closes them.

/** Bind what opens and closes dialogs, and forms that ask once more before they are sent. */
export function startDialogs(): void {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const opener = target?.closest<HTMLElement>("[data-dialog]");
    if (opener) {
      event.preventDefault();
      openDialog(opener.dataset.dialog ?? "");
    }
    if (target?.closest("[data-dialog-close]")) target.closest("dialog")?.close();
    // A click beside the dialog closes it: there the dialog itself is what was hit.
    if (target instanceof HTMLDialogElement) target.close();
  });
  // Of a form with several dialogs, Enter would press the first button of all, which is in another one.
  document.addEventListener("keydown", (event) => {
    const field = event.target instanceof HTMLInputElement ? event.target : null;
    if (event.key !== "Enter" || event.isComposing || !field || /^(checkbox|radio|file)$/.test(field.type))
      return;
    const button = field.closest("dialog")?.querySelector<HTMLElement>(".x-dialog-foot button.btn-primary");
    if (!button) return;
    event.preventDefault();
    button.click();
  });
  for (const dialog of document.querySelectorAll<HTMLDialogElement>("dialog[data-open]")) {
    // The browser gives the focus back to what had it: to where the answer would have come from, on a page that is new.
    dialog.closest("form")?.querySelector<HTMLElement>("button:not([type=button])")?.focus();
    dialog.showModal();
  }
  // One whose content is fetched opens when it has come.
  document.body.addEventListener("htmx:afterSettle", (event) => {
    const dialog = event.target instanceof Element ? event.target.closest("dialog[data-open-filled]") : null;
    if (dialog) openDialog(dialog.id);
  });
}

export function openDialog(id: string): HTMLDialogElement | null {
  const dialog = document.getElementById(id);
  if (!(dialog instanceof HTMLDialogElement) || dialog.open) return null;
  dialog.showModal();
  return dialog;
}
