// Questions to the server. The types are those of src/bilinear/serving/messages.py, as far as they are used.

export interface ModelInfo {
  model: string; estimator: string; arguments: Record<string, string>;
  n_users: number; n_items: number; n_ratings: number; n_factors: number | null;
  rating_range: (number | null)[] | null; source: string; held_out: Record<string, number> | null;
  loaded_at: number; n_earlier: number; has_item_features: boolean;
  has_ratings?: boolean; can_predict: boolean; can_similar: boolean; has_titles: boolean; has_categories: boolean; feedback: string;
}
export interface Ranked { item: string; title: string; score: number; prediction: number | null; categories: string[]; new: boolean }
export type Basis = "training" | "feedback" | "session" | "features" | "non-personal";
export interface Column { column: string; kind: string; is_feature: boolean; values: string[] }
export interface Put { id: string; title: string | null; missing: string[]; ignored: Record<string, string[]>; trained: boolean }
export interface Recommended {
  user: string | null; personal: boolean; basis: Basis; n_ratings: number; model: string;
  unknown_items: string[]; items: Ranked[];
}
export interface Found { q: string; more: boolean; items: { item: string; title: string; categories: string[]; n_ratings: number; new: boolean }[] }
export interface Similar { item: string; title: string; items: { item: string; title: string; similarity: number; categories: string[]; new: boolean }[] }
export interface Explained {
  item: string; title: string; basis: Basis; score: number; prediction: number | null;
  global_mean: number; item_bias: number; user_bias: number;
  contributions: { item: string; title: string; rating: number; contribution: number }[]; others: number; rest: number;
}
export interface ItemRecord {
  item: string; title: string; categories: string[]; texts: Record<string, string>;
  n_ratings: number; mean_rating: number | null; bias: number | null; new: boolean;
}
export interface KnownRating { item: string; title: string; rating: number; source: "training" | "feedback"; time: number | null }
export interface UserRecord {
  user: string; known: boolean; basis: Basis; bias: number | null; n_ratings: number; n_training: number;
  n_feedback: number; mean_rating: number | null; ratings: KnownRating[];
}
export interface Users { n_users: number; users: { user: string; n_ratings: number }[] }
export interface ItemMap {
  model: string; explained: number[]; categories: string[]; items: string[]; titles: string[];
  x: number[]; y: number[]; category: number[]; biases: (number | null)[]; n_ratings: number[]; n_new: number; unit: string;
}
export interface Report {
  model: string; report: Record<string, unknown>; history: Record<string, unknown> | null; search: Record<string, unknown> | null;
  charts: { scores?: string[]; training?: string[] };
}
export interface RetrainState {
  state: "never" | "running" | "live" | "refused" | "failed"; message: string;
  started_at: number | null; ended_at: number | null; metric: string | null; score: number | null; bound: number | null;
}
export interface Rating { item: string; title: string; rating: number }

export class ApiError extends Error {
  constructor(readonly status: number, readonly code: string, message: string) { super(message); }
}

const TOKEN = "bilinear.token";
let token = sessionStorage.getItem(TOKEN) ?? "";
let onRefused: (error: ApiError) => void = () => {};

/** The token is kept until the tab is closed. */
export function setToken(given: string): void {
  token = given.trim();
  sessionStorage.setItem(TOKEN, token);
}
export function whenRefused(call: (error: ApiError) => void): void { onRefused = call; }

type Query = Record<string, string | number | boolean | readonly string[]>;

async function ask<T>(method: string, path: string, query: Query, body?: unknown, signal?: AbortSignal): Promise<T> {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const each of value) words.append(name, each);
    else words.append(name, String(value));
  }
  const headers: Record<string, string> = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(`${path}${words.size ? `?${words}` : ""}`, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "no_server", "The server does not answer. Is `bilinear serve` still running?");
  }
  if (answer.ok) return await answer.json() as T;
  const said = await answer.json().catch(() => null) as { error?: { code: string; message: string } } | null;
  const error = new ApiError(answer.status, said?.error?.code ?? "unknown", said?.error?.message ?? `status ${answer.status}`);
  if (answer.status === 401) onRefused(error);
  throw error;
}

const pairs = (ratings: readonly Rating[]) => ratings.map(({ item, rating }) => ({ item, rating }));

export const api = {
  model: () => ask<ModelInfo>("GET", "v1/model", {}),
  report: () => ask<Report>("GET", "v1/model/report", {}),
  categories: () => ask<{ categories: { category: string; n_items: number }[] }>("GET", "v1/categories", {}),
  search: (q: string, signal?: AbortSignal) => ask<Found>("GET", "v1/search", { q, n: 12 }, undefined, signal),
  users: (prefix: string, signal?: AbortSignal) => ask<Users>("GET", "v1/users", { prefix, limit: 12 }, undefined, signal),
  item: (item: string) => ask<ItemRecord>("GET", "v1/item", { item }),
  similar: (item: string, n = 10) => ask<Similar>("GET", "v1/similar", { item, n }),
  /** Null for an unknown user; asks for the lists first, as a 404 would be logged by the browser. */
  user: async (user: string, limit = 100, offset = 0): Promise<UserRecord | null> => {
    const { basis, n_ratings } = await ask<Recommended>("GET", "v1/recommendations", { user, n: 1 });
    return basis === "non-personal" && !n_ratings ? null : await ask<UserRecord>("GET", "v1/user", { user, limit, offset });
  },
  map: () => ask<ItemMap>("GET", "v1/map", {}),
  recommend: (user: string, n: number, category: readonly string[], signal?: AbortSignal, only = "mixed") =>
    ask<Recommended>("GET", "v1/recommendations", { user, n, category, new: only }, undefined, signal),
  recommendSession: (ratings: readonly Rating[], n: number, categories: readonly string[], signal?: AbortSignal, only = "mixed") =>
    ask<Recommended>("POST", "v1/session/recommendations", {}, { ratings: pairs(ratings), n, categories, new: only }, signal),
  columns: () => ask<{ items: Column[]; users: Column[] }>("GET", "v1/columns", {}),
  putItem: (item: string, title: string | null, features: Record<string, string | string[]>) =>
    ask<Put>("PUT", "v1/item", { item }, { title, features }),
  removeItem: (item: string) => ask<Put>("DELETE", "v1/item", { item }),
  explain: (user: string, item: string) => ask<Explained>("GET", "v1/explanations", { user, item, n: 6 }),
  explainSession: (ratings: readonly Rating[], item: string) =>
    ask<Explained>("POST", "v1/session/explanations", {}, { ratings: pairs(ratings), item, n: 6 }),
  put: (user: string, item: string, rating: number) => ask<unknown>("PUT", "v1/feedback", { user, item }, { rating }),
  remove: (user: string, item: string) => ask<unknown>("DELETE", "v1/feedback", { user, item }),
  retrain: () => ask<RetrainState>("POST", "v1/model/retrain", {}, {}),
  retrainState: () => ask<RetrainState>("GET", "v1/model/retrain", {}),
  rollback: () => ask<unknown>("POST", "v1/model/rollback", {}, {}),
  reload: () => ask<unknown>("POST", "v1/model/reload", {}, {}),
};
