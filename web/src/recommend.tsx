// Search, rate, and watch the list change.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { AddItem } from "./add";
import { api, type Recommended } from "./api";
import { ItemDrawer } from "./item";
import { Failed, Finder, Stars, StarRow, useAnswer, Waiting, type Choice } from "./parts";
import { become, forgetAll, rate, useSession, type Served } from "./state";
import { count, plural } from "./words";
import { Why } from "./why";

const LENGTH = 20, SHOWN = 8;
const REASONED = 8; // places that say why at once; the others when asked

const findItems = async (words: string, signal: AbortSignal): Promise<Choice[]> =>
  (await api.search(words, signal)).items.map((one) => ({ id: one.item, name: one.title, note: one.new ? "new" : plural(one.n_ratings, "rating") }));

export const findUsers = async (words: string, signal: AbortSignal): Promise<Choice[]> => {
  const id = words.trim(), { users } = await api.users(id, signal);
  const found = users.map((one) => ({ id: one.user, name: one.user, note: plural(one.n_ratings, "rating") }));
  return found.some((one) => one.id === id) ? found : [...found, { id, name: id, note: "new user" }];
};

export function RecommendView({ served }: { served: Served }) {
  const session = useSession(), { scale } = served;
  const [chosen, setChosen] = useState<{ item: string; title: string } | null>(null);
  const [open, setOpen] = useState<string | null>(null);
  return (
    <div class="halves">
      <section class="you" aria-label="You">
        <Who likes={scale.kind === "like"} />
        <h2>{scale.kind === "like" ? "What do you like?" : "What have you seen?"}</h2>
        <Finder label="Find an item by its title" placeholder="Find a title" find={findItems}
          nothing={(words) => `no title with “${words}”`}
          onChoose={({ id, name }) => setChosen({ item: id, title: name })} />
        {chosen && <Chosen key={chosen.item} {...chosen} served={served} onOpen={() => setOpen(chosen.item)} onDone={() => setChosen(null)} />}
        {session.problem && <p class="failed" role="alert">{session.problem}</p>}
        <Mine served={served} onOpen={setOpen} />
        <AddItem served={served} onOpen={setOpen} />
      </section>
      <List served={served} onOpen={setOpen} />
      {open !== null && <ItemDrawer item={open} served={served} onItem={setOpen} onClose={() => setOpen(null)} />}
    </div>
  );
}

function Who({ likes }: { likes: boolean }) {
  const session = useSession(), given = likes ? "likes" : "ratings";
  const [asking, setAsking] = useState(false);
  const isUser = session.user !== null;
  return (
    <div class="who">
      <div class="switch" role="group" aria-label="User or session">
        <button type="button" aria-pressed={!isUser && !asking} onClick={() => { setAsking(false); if (isUser) void become(null); }}>Just trying</button>
        <button type="button" aria-pressed={isUser || asking} onClick={() => setAsking(true)}>
          {isUser ? <>User <bdi>{session.user}</bdi></> : "As a user"}
        </button>
      </div>
      {asking && (
        <Finder label="User id, known or new" placeholder="User id, known or new" find={findUsers} nothing={() => ""}
          onChoose={({ id }) => { setAsking(false); void become(id); }} />
      )}
      <p class="faint">
        {isUser ? <>The server stores {given === "likes" ? "what they like" : "their ratings"}. <a href={`#/user?id=${encodeURIComponent(session.user!)}`}>All about this user</a></>
          : `The server stores nothing; your ${given} stay in this browser.`}
      </p>
    </div>
  );
}

function Chosen({ item, title, served, onOpen, onDone }: {
  item: string; title: string; served: Served; onOpen: () => void; onDone: () => void;
}) {
  const session = useSession(), box = useRef<HTMLDivElement>(null);
  const mine = session.ratings.find((one) => one.item === item)?.rating ?? null;
  useLayoutEffect(() => box.current?.querySelector<HTMLElement>(".stars, .like")?.focus(), []); // before the next key
  return (
    <div class="chosen" ref={box}>
      <button type="button" class="title" onClick={onOpen}><bdi>{title}</bdi></button>
      <Stars scale={served.scale} value={mine} title={title} loud
        onRate={(rating) => { void rate(item, title, rating); onDone(); }} />
      <button type="button" class="plain" aria-label="Not this one" onClick={onDone}>×</button>
    </div>
  );
}

function Mine({ served, onOpen }: { served: Served; onOpen: (item: string) => void }) {
  const session = useSession();
  const [all, setAll] = useState(false);
  const n = session.ratings.length, shown = all ? session.ratings : session.ratings.slice(0, SHOWN);
  if (!n) {
    return <p class="hint">{session.loading ? "…" : served.scale.kind === "like"
      ? "Find two or three things you like, or press a heart in the list: it follows at once."
      : "Rate two or three titles, here or in the list: it follows at once."}</p>;
  }
  return (
    <div class="mine">
      <h3>{served.scale.kind === "like" ? plural(n, "like") : plural(n, "rating")} {session.user === null &&
        <button type="button" class="plain" onClick={forgetAll}>Forget all</button>}</h3>
      <ul>
        {shown.map((one) => (
          <li key={one.item}>
            <button type="button" class="title" onClick={() => onOpen(one.item)}><bdi>{one.title}</bdi></button>
            <Stars scale={served.scale} value={one.rating} title={one.title} onRate={(rating) => void rate(one.item, one.title, rating)} />
            <button type="button" class="plain" aria-label={`Take back the rating of ${one.title}`} onClick={() => void rate(one.item, one.title, null)}>×</button>
          </li>
        ))}
      </ul>
      {n > SHOWN && <button type="button" class="plain" aria-expanded={all} onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show all ${count(n)}`}</button>}
    </div>
  );
}

function List({ served, onOpen }: { served: Served; onOpen: (item: string) => void }) {
  const session = useSession();
  const [category, setCategory] = useState(""), [onlyNew, setOnlyNew] = useState(false);
  const [why, setWhy] = useState<string | null>(null);
  const only = category ? [category] : [];
  const { value, problem, waiting, ms } = useAnswer(
    (signal) => session.user === null ? api.recommendSession(session.ratings, LENGTH, only, signal, onlyNew ? "only" : "mixed")
      : api.recommend(session.user, LENGTH, only, signal, onlyNew ? "only" : "mixed"),
    `${session.user} ${session.version} ${category} ${onlyNew}`);
  const categories = useAnswer(() => api.categories(), `${served.info.model} ${session.version}`).value?.categories ?? [];
  const before = useBefore(value, `${session.user} ${category} ${onlyNew}`);
  const rows = useRef<HTMLOListElement>(null);
  useMoves(rows, value);
  // A rated item leaves the list: the focus goes on to what takes its place.
  const focused = useRef<number | null>(null);
  useLayoutEffect(() => {
    if (focused.current === null) return;
    rows.current?.children[focused.current]?.querySelector<HTMLElement>(".stars, .like")?.focus({ preventScroll: true });
    focused.current = null;
  }, [value]);
  const change = value && before ? value.items.filter((one) => !before.has(one.item)).length : 0;
  return (
    <section class="list" aria-label="Recommendations" aria-busy={waiting}>
      <div class="list-head">
        <h2>{value && !value.personal ? "Best for everyone" : "For you"}</h2>
        {served.info.has_item_features && <label class="map-field"><input type="checkbox" checked={onlyNew} onChange={(event) => setOnlyNew(event.currentTarget.checked)} /> new items only</label>}
        {categories.length > 1 && (
          <label class="map-field"><span class="unseen">Category</span>
            <select value={category} onChange={(event) => setCategory(event.currentTarget.value)}>
              <option value="">all categories</option>
              {categories.map((one) => <option key={one.category} value={one.category}>{one.category} ({count(one.n_items)})</option>)}
            </select>
          </label>
        )}
      </div>
      <p class="faint" role="status">{value && said(value, served, ms, change)}</p>
      <Failed problem={problem} />
      {waiting && !value && <Waiting what="the list" />}
      <ol ref={rows}>
        {value?.items.map((one, at) => (
          <li key={one.item} data-item={one.item}>
            <span class="place">{at + 1}</span>
            <div class="what">
              <button type="button" class="title" onClick={() => onOpen(one.item)}><bdi>{one.title}</bdi></button>
              {one.new && <span class="badge fresh">new item</span>}
              <Moved before={before?.get(one.item)} at={at} known={before !== null} />
              <span class="faint kinds">{one.categories.join(", ")}</span>
              {value.personal && at < REASONED && <Because item={one.item} served={served} />}
            </div>
            <button type="button" class="ask" aria-expanded={why === one.item} aria-label={`Why ${one.title}?`}
              onClick={() => setWhy(why === one.item ? null : one.item)}>why?</button>
            {one.prediction !== null && (
              <span class="predicted" title={`predicted rating ${one.prediction.toFixed(2)}, score ${one.score.toFixed(2)}`}>
                <StarRow stars={1} share={1} />{one.prediction.toFixed(1)}
              </span>
            )}
            <Stars scale={served.scale} value={null} title={one.title}
              onRate={(rating) => { focused.current = at; void rate(one.item, one.title, rating); }} />
            {why === one.item && <Why item={one.item} scale={served.scale} />}
          </li>
        ))}
      </ol>
      {value && !value.items.length && <p class="hint">Nothing is left to recommend here.</p>}
    </section>
  );
}

/** The one or two ratings that move an item up most. */
function Because({ item, served }: { item: string; served: Served }) {
  const { user, ratings, version } = useSession();
  const { value } = useAnswer(() => user === null ? api.explainSession(ratings, item) : api.explain(user, item), `${user} ${version} ${item}`);
  const up = value?.contributions.filter((one) => one.contribution > 0.005 * Math.abs(value.score)).slice(0, 2) ?? [];
  if (!up.length) return <span class="faint kinds">&nbsp;</span>; // no jump when it comes
  const { kind, low, top } = served.scale, verb = (rating: number) => kind === "like" || rating > (low + top) / 2 ? "you liked" : "you did not like";
  return (
    <span class="faint kinds because">because {up.map((one, at) => (
      <>{at > 0 && " and "}{(at === 0 || verb(one.rating) !== verb(up[0].rating)) && `${verb(one.rating)} `}<bdi>{one.title}</bdi></>
    ))}</span>
  );
}

function said(found: Recommended, served: Served, ms: number, change: number): string {
  const known = found.basis === "non-personal"
    ? found.n_ratings ? "These ratings say nothing yet to this model" : "Nothing is known of you yet"
    : found.basis === "features" ? "from what is known of this user"
    : served.scale.kind === "like" ? `from ${plural(found.n_ratings, "like")}` : `from ${plural(found.n_ratings, "rating")}`;
  const fresh = change ? `; ${change} of ${found.items.length} are new` : "";
  return `${known[0].toUpperCase()}${known.slice(1)}, answered in ${Math.max(1, Math.round(ms))} ms${fresh}.`;
}

/** The places of the list before this one, as long as the same question is asked. */
function useBefore(now: Recommended | null, question: string): Map<string, number> | null {
  const kept = useRef<{ list: Recommended | null; question: string; before: Map<string, number> | null }>({ list: null, question: "", before: null });
  const last = kept.current;
  if (now && now !== last.list) {
    const same = last.list && last.question === question && last.list.user === now.user;
    kept.current = { list: now, question, before: same ? new Map(last.list!.items.map((one, at) => [one.item, at])) : null };
  }
  return kept.current.before;
}

function Moved({ before, at, known }: { before: number | undefined; at: number; known: boolean }) {
  if (!known) return null;
  if (before === undefined) return <span class="moved new">new</span>;
  const by = before - at;
  return by === 0 ? null : (
    <span class={`moved ${by > 0 ? "up" : "down"}`}>
      <span aria-hidden="true">{by > 0 ? "▲" : "▼"} {Math.abs(by)}</span>
      <span class="unseen">{by > 0 ? `up ${by}` : `down ${-by}`}</span>
    </span>
  );
}

/** Rows glide from where they were; new ones fade in. */
function useMoves(list: { current: HTMLOListElement | null }, of: unknown): void {
  const places = useRef(new Map<string, number>());
  useLayoutEffect(() => {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches, first = places.current.size === 0;
    const next = new Map<string, number>();
    for (const row of list.current?.children ?? []) {
      const element = row as HTMLElement, id = element.dataset.item!, top = element.offsetTop;
      next.set(id, top);
      if (still || first) continue;
      const from = places.current.get(id);
      if (from === undefined) element.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 420, easing: "ease-out" });
      else if (from !== top) element.animate([{ transform: `translateY(${from - top}px)` }, { transform: "none" }], { duration: 320, easing: "cubic-bezier(.2,.7,.2,1)" });
    }
    places.current = next;
  }, [of]);
}

