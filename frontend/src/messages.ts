// The words of the interface: the server puts those that scripts need into the page, from the same .po files.

interface Catalogue {
  /** For each message its translation, or one for each plural form. */
  messages: Record<string, string | string[]>;
  /** Which of the plural forms goes with which of CLDR's categories. */
  plurals: Record<string, number>;
}

const catalogue: Catalogue = JSON.parse(
  document.getElementById("messages")?.textContent ?? '{"messages":{},"plurals":{}}',
);
export const language: string = document.documentElement.lang || "en";
const rules = new Intl.PluralRules(language);

type Values = Record<string, string | number>;

function fill(text: string, values: Values): string {
  return text.replace(/%\((\w+)\)[sd]/g, (whole, name: string) => String(values[name] ?? whole));
}

/** The message in the page's language, with `%(name)s` filled in. */
export function gettext(message: string, values: Values = {}): string {
  const found = catalogue.messages[message];
  return fill(typeof found === "string" ? found : message, values);
}

/** The same, in the form that goes with `number`, which is filled in as `%(num)s`. */
export function ngettext(one: string, many: string, number: number, values: Values = {}): string {
  const found = catalogue.messages[one];
  const forms = Array.isArray(found) ? found : undefined;
  const form = forms?.[catalogue.plurals[rules.select(number)] ?? 0];
  return fill(form ?? (number === 1 ? one : many), { num: formatNumber(number), ...values });
}

const numbers = new Intl.NumberFormat(language);

/** A number as the language writes it. */
export function formatNumber(value: number): string {
  return numbers.format(value);
}
