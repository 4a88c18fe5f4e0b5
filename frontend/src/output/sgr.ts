// How a stretch of text looks whose style is given as SGR parameters (ECMA-48, 8.3.117), on the viewer's dark ground.
// The sixteen colours are chosen for a contrast of at least 4.5 there (WCAG 2.2, 1.4.3). Colours of their own that
// would make text disappear are not taken: output must not be able to hide itself.

const SIXTEEN: readonly string[] = [
  "#8b97ab", "#ff7b72", "#5ad08c", "#e3b341", "#79b8ff", "#d2a8ff", "#56d4dd", "#d0d5dd",
  "#a3aec0", "#ffa198", "#7ee2a8", "#f2cc60", "#a5d0ff", "#e2c5ff", "#8be9f0", "#f8fafc",
]; // biome-ignore format: a table
const BACKGROUNDS: readonly string[] = [
  "#000000", "#8e1519", "#0a5c36", "#6b4a00", "#0b4a8f", "#5b2a86", "#0b5560", "#475467",
  "#344054", "#b42318", "#027a48", "#8a5a00", "#175cd3", "#7a3fb0", "#0e7080", "#98a2b3",
]; // biome-ignore format: a table
const GROUND = "#101828";
const TEXT = "#e4e7ec";
const BLACK = "#080c14";
const LEAST_CONTRAST = 1.6;
const MOST_KEPT = 2_000;

export interface Look {
  color: string;
  background: string;
  classes: string[];
}

const kept = new Map<string, Look>();

export function lookOf(sgr: string): Look {
  const known = kept.get(sgr);
  if (known) return known;
  const look = read(sgr);
  if (kept.size >= MOST_KEPT) kept.clear();
  kept.set(sgr, look);
  return look;
}

const FLAGS: Record<string, string> = {
  "1": "x-bold",
  "2": "x-faint",
  "3": "x-italic",
  "4": "x-under",
  "9": "x-struck",
};

function read(sgr: string): Look {
  const words = sgr.split(";").map(Number);
  const classes: string[] = [];
  let color = "";
  let background = "";
  let inverse = false;
  for (let place = 0; place < words.length; place++) {
    const code = words[place] ?? 0;
    const flag = FLAGS[String(code)];
    if (flag) classes.push(flag);
    else if (code === 7) inverse = true;
    else if (code >= 30 && code <= 37) color = SIXTEEN[code - 30] ?? "";
    else if (code >= 90 && code <= 97) color = SIXTEEN[code - 82] ?? "";
    else if (code >= 40 && code <= 47) background = BACKGROUNDS[code - 40] ?? "";
    else if (code >= 100 && code <= 107) background = BACKGROUNDS[code - 92] ?? "";
    else if (code === 38 || code === 48) {
      const table = code === 38 ? SIXTEEN : BACKGROUNDS;
      let value: string;
      if (words[place + 1] === 5) {
        value = indexed(words[place + 2] ?? 0, table);
        place += 2;
      } else {
        value = hex(words.slice(place + 2, place + 5));
        place += 4;
      }
      if (code === 38) color = value;
      else background = value;
    }
  }
  if (inverse) [color, background] = [background || GROUND, color || TEXT];
  if (color && contrast(color, background || GROUND) < LEAST_CONTRAST) {
    // Which of the two is at fault depends on what the other would be seen on.
    background = "";
    if (contrast(color, GROUND) < LEAST_CONTRAST) color = "";
  }
  // Text without a colour of its own, on a ground that is: black where that is read better.
  if (background && !color && contrast(TEXT, background) < contrast(BLACK, background)) color = BLACK;
  return { color, background, classes };
}

/** The 256 colours of xterm: sixteen, a cube of 6 x 6 x 6, and 24 greys. */
function indexed(index: number, sixteen: readonly string[]): string {
  if (index < 16) return sixteen[index] ?? "";
  if (index > 255) return "";
  if (index >= 232) {
    const grey = 8 + 10 * (index - 232);
    return hex([grey, grey, grey]);
  }
  const level = (value: number): number => (value ? 55 + 40 * value : 0);
  const cube = index - 16;
  return hex([level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]);
}

function hex(values: number[]): string {
  return `#${values
    .map((value) =>
      Math.min(Math.max(value || 0, 0), 255)
        .toString(16)
        .padStart(2, "0"),
    )
    .join("")}`;
}

/** WCAG 2.2's contrast of two colours given as `#rrggbb`. */
export function contrast(one: string, other: string): number {
  const [a, b] = [luminance(one), luminance(other)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

function luminance(color: string): number {
  const part = (start: number): number => {
    const value = Number.parseInt(color.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
}
