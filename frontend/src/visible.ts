// Control characters, half surrogates, and what is invisible or turns the direction of writing: the same as `visible`
// in src/testum/core/text.py marks; tests/pages compares the two.
export const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** The text with all that cannot be seen, or would make the rest look different, as marks. Tabs and newlines stay. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === "\t" || character === "\n") return character;
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "\u2421" : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}
