// Lines that were picked by their numbers: they have an address (`#L12`, `#L10-L20`), and can be copied however many.

export interface Range {
  first: number;
  last: number;
}

/** The lines that a fragment names; null where it names none. */
export function rangeOf(hash: string): Range | null {
  const found = /^#L(\d{1,15})(?:-L(\d{1,15}))?$/.exec(hash);
  if (!found) return null;
  const from = Number(found[1]);
  const to = Number(found[2] ?? found[1]);
  return from >= 1 && to >= 1 ? { first: Math.min(from, to), last: Math.max(from, to) } : null;
}

export function hashOf(range: Range | null): string {
  if (!range) return "";
  return range.first === range.last ? `#L${range.first}` : `#L${range.first}-L${range.last}`;
}

/** The address of this page with these lines, without going there. */
export function keepInAddress(range: Range | null): void {
  const address = new URL(location.href);
  address.hash = hashOf(range);
  history.replaceState(history.state, "", address);
}
