// Held-out scores as stored with a model (`report_`). Reports may come from any file: what is missing or odd is left out.

import type { ModelInfo } from "./api";
import { number, signed } from "./words";

export interface Bounds { value: number; low: number; high: number }
export interface Row extends Bounds { name: string; difference: Bounds | null }
export interface Metric { name: string; lowerIsBetter: boolean; baseline: string; rows: Row[] }

type Loose = Record<string, unknown>;
const loose = (value: unknown): Loose => value !== null && typeof value === "object" && !Array.isArray(value) ? value as Loose : {};

/** Of {value, low, high}, or of [value, low, high] as ranking reports have them. */
function bounds(value: unknown): Bounds | null {
  if (Array.isArray(value)) return bounds({ value: value[0], low: value[1], high: value[2] });
  const held = loose(value), at = number(held.value);
  return at === null ? null : { value: at, low: number(held.low) ?? at, high: number(held.high) ?? at };
}

const RANKING = ["ndcg@20", "recall@20", "ndcg@10", "recall@10", "hit_rate@10", "mrr@10"];

/** The metrics to show, the main one first, each with its models from best to worst. */
export function scoresOf(report: Loose): Metric[] {
  const models = Object.entries(loose(report.scores)).map(([name, one]) => ({ name, held: { ...loose(one), ...loose(loose(one).means) } as Loose }));
  const differences = loose(report.differences), baseline = typeof report.baseline === "string" ? report.baseline : "";
  const ofRatings = ["rmse", "mae"].filter((name) => models.some(({ held }) => bounds(held[name])));
  const names = ofRatings.length ? ofRatings : RANKING.filter((name) => models.some(({ held }) => bounds(held[name]))).slice(0, 2);
  return names.map((name, at) => {
    const lowerIsBetter = ofRatings.length > 0;
    const rows = models.flatMap(({ name: model, held }) => {
      const found = bounds(held[name]), paired = differences[model];
      const difference = lowerIsBetter ? (at ? null : bounds(paired)) : bounds(loose(paired)[name]);
      return found ? [{ ...found, name: model, difference }] : [];
    }).sort((a, b) => lowerIsBetter ? a.value - b.value : b.value - a.value);
    return { name: lowerIsBetter ? name.toUpperCase() : name.replace("ndcg", "NDCG"), lowerIsBetter, baseline, rows };
  });
}

export interface Verdict { better: boolean | null; headline: string; lead: string; detail: string; name: string | null }

/** Whether the model beats what was measured beside it, in one line. */
export function verdictOf(report: Loose, info: ModelInfo): Verdict {
  const [main] = scoresOf(report);
  const mine = main?.rows.find((row) => row.name === info.estimator) ?? main?.rows.find((row) => row.name.startsWith(info.estimator)) ?? null;
  if (!main || !mine) {
    return { better: null, headline: "No score on held-out ratings is stored with this model", lead: "", detail: "`bilinear train` without --no-test measures one.", name: null };
  }
  const lead = `${main.name} ${mine.value.toFixed(4)} [${mine.low.toFixed(4)}, ${mine.high.toFixed(4)}]`;
  const others = main.rows.filter((row) => !row.name.startsWith(info.estimator)), best = others[0];
  if (!best) return { better: null, headline: lead, lead: "", detail: "No other model was measured on the same ratings.", name: mine.name };
  const gain = main.lowerIsBetter ? 1 - mine.value / best.value : mine.value / best.value - 1;
  const headline = main.lowerIsBetter
    ? gain > 0 ? `${(100 * gain).toFixed(1)}% less error than ${best.name}` : `No less error than ${best.name}`
    : gain > 0 ? `${(100 * gain).toFixed(0)}% better than ${best.name}, by ${main.name}` : `No better than ${best.name}, by ${main.name}`;
  const apart = mine.difference && main.baseline === best.name
    ? `On the same users it differs from ${best.name} by ${signed(mine.difference.value, 4)} [${signed(mine.difference.low, 4)}, ${signed(mine.difference.high, 4)}] (paired, 95% interval): ${mine.difference.low > 0 || mine.difference.high < 0 ? "clear of zero" : "not clear of zero"}.`
    : "";
  return { better: gain > 0, headline, lead: `${lead}; ${others.map((row) => `${row.name} ${row.value.toFixed(4)}`).join(", ")}`, detail: apart, name: mine.name };
}
