// Numbers and names as they are shown.

export const count = (value: number) => value.toLocaleString("en");
export const plural = (value: number, word: string) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
export const signed = (value: number, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
export const short = (value: number) => Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1).replace(/0$/, "");
export const plain = (text: string) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
export const percent = (value: number, digits = 0) => `${(100 * value).toFixed(digits)}%`;
export const number = (value: unknown): number | null => typeof value === "number" && Number.isFinite(value) ? value : null;

export function when(seconds: number): string {
  return new Date(1000 * seconds).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
}
