// Who is asking, and what they rated: kept in the browser for a session, on the server for a user.

import { useEffect, useState } from "preact/hooks";
import { api, type ModelInfo, type Rating, type Report } from "./api";

const KEY = "bilinear.session";

export interface Served { info: ModelInfo; report: Report; scale: Scale }

/** How ratings are given: stars up to `top` in steps, or a like that counts as `top`. */
export interface Scale { kind: "stars" | "like"; low: number; top: number; step: number; stars: number }

export interface Session { user: string | null; ratings: Rating[]; version: number; problem: string | null; loading: boolean }

let session: Session = { ...stored(), version: 0, problem: null, loading: false };
const listeners = new Set<() => void>();

function stored(): { user: string | null; ratings: Rating[] } {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const ratings = Array.isArray(kept.ratings) ? kept.ratings.filter(isRating).slice(0, 2000) : [];
    return { user: typeof kept.user === "string" && kept.user ? kept.user : null, ratings };
  } catch {
    return { user: null, ratings: [] };
  }
}

function isRating(value: unknown): value is Rating {
  const one = value as Rating | null;
  return typeof one?.item === "string" && typeof one.title === "string" && Number.isFinite(one.rating);
}

// A user's ratings are the server's; only an anonymous session's are kept here.
let anonymous: Rating[] = session.ratings;
if (session.user !== null) session = { ...session, ratings: [] };

function change(next: Partial<Session>): void {
  session = { ...session, ...next, version: session.version + 1 };
  if (session.user === null) anonymous = session.ratings;
  try {
    localStorage.setItem(KEY, JSON.stringify({ user: session.user, ratings: anonymous }));
  } catch { /* a full or forbidden store: the session lives until the tab is closed */ }
  for (const listener of listeners) listener();
}

export function useSession(): Session {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((n) => n + 1);
    listeners.add(listener);
    return () => { listeners.delete(listener); };
  }, []);
  return session;
}

export async function become(user: string | null): Promise<void> {
  change({ user, ratings: user === null ? anonymous : [], problem: null, loading: user !== null });
  if (user !== null) await readUser(user);
}

/** A user's own ratings, from training and feedback, latest first. */
export async function readUser(user: string): Promise<void> {
  try {
    const record = await api.user(user, 1000); // null: the first rating makes them known
    if (session.user !== user) return;
    const ratings = (record?.ratings ?? []).map(({ item, title, rating }) => ({ item, title, rating }));
    change({ ratings, loading: false });
  } catch (error) {
    if (session.user === user) change({ ratings: [], loading: false, problem: (error as Error).message });
  }
}

let writing: Promise<unknown> = Promise.resolve();

/** Shown at once; for a user it counts for the lists only when the server has it on disk. */
export async function rate(item: string, title: string, rating: number | null): Promise<void> {
  const user = session.user, before = session.ratings;
  const others = before.filter((one) => one.item !== item);
  const at = before.findIndex((one) => one.item === item);
  const after = rating === null ? others
    : at < 0 ? [{ item, title, rating }, ...others]
    : before.map((one) => one.item === item ? { item, title, rating } : one);
  if (user === null) {
    change({ ratings: after, problem: null });
    return;
  }
  // One write after the other: the last one given is the last one stored.
  const write = writing.then(() => rating === null ? api.remove(user, item) : api.put(user, item, rating));
  writing = write.catch(() => {});
  session = { ...session, ratings: after, problem: null };
  for (const listener of listeners) listener();
  try {
    await write;
    if (session.user === user) change({});
  } catch (error) {
    if (session.user !== user) return;
    await readUser(user);
    change({ problem: `Not stored: ${(error as Error).message}` });
  }
}

/** Lists are asked for again: other items are in them. */
export function listsChanged(): void { change({}); }

export function forgetAll(): void { change({ ratings: [], problem: null }); }

export function scaleOf(info: ModelInfo, report: Report): Scale {
  const data = (report.report.data ?? {}) as { rating_range?: number[]; histogram?: [string, number][]; has_ratings?: boolean };
  const [dataLow, dataTop] = data.rating_range ?? [];
  if (!info.can_predict) {
    const top = info.has_ratings !== false && data.has_ratings !== false && Number.isFinite(dataTop) ? dataTop : 1;
    return { kind: "like", low: top, top, step: 1, stars: 1 };
  }
  const low = info.rating_range?.[0] ?? dataLow ?? 1, top = info.rating_range?.[1] ?? dataTop ?? 5;
  const levels = (data.histogram ?? []).map(([level]) => Number(level)).filter(Number.isFinite);
  const halves = levels.some((level) => level % 1 !== 0) || low % 1 !== 0;
  const step = top - low <= 12 ? (halves ? 0.5 : 1) : (top - low) / 20;
  return { kind: "stars", low, top, step, stars: top > 0 && top <= 10 && top % 1 === 0 ? top : 5 };
}
