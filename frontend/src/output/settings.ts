// How the reader wants output shown, remembered by the browser.
import type { Times } from "./line";

export interface Settings {
  wrap: boolean;
  numbers: boolean;
  times: Times;
}

const KEY = "testum.output";

export function load(): Settings {
  const settings: Settings = { wrap: false, numbers: true, times: "none" };
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    if (typeof kept.wrap === "boolean") settings.wrap = kept.wrap;
    if (typeof kept.numbers === "boolean") settings.numbers = kept.numbers;
    if (["none", "absolute", "relative"].includes(kept.times)) settings.times = kept.times;
  } catch {
    // Storage may be switched off: then nothing is remembered.
  }
  return settings;
}

export function save(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // As above.
  }
}
