// All items as points of a plane; what is near is liked by the same people.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, type ApiError, type ItemMap } from "./api";
import { ItemDrawer } from "./item";
import { DARK, LIGHT } from "./palette";
import { Failed, Finder, Part, useAnswer, type Choice } from "./parts";
import { Plane } from "./plane";
import { useSession, type Served } from "./state";
import { count, plain, plural, signed } from "./words";

// The map is large and the same until the model or its items change: it is asked for once.
let kept: { model: string; map: Promise<ItemMap> } | null = null;
function mapOf(model: string): Promise<ItemMap> {
  if (kept?.model !== model) {
    const map = api.map();
    kept = { model, map };
    map.catch(() => { kept = null; });
  }
  return kept!.map;
}

export function forgetMap(): void { kept = null; }

export function MapView({ served, item }: { served: Served; item: string | null }) {
  // No question that could only be refused.
  return (served.info.n_factors ?? 0) < 2 ? <NoMap served={served} why="A map needs a model with two factors or more" /> : <AskedMap served={served} item={item} />;
}

function NoMap({ served, why }: { served: Served; why: string }) {
  return (
    <div class="narrow"><Part head="Map of the items">
      <p class="hint">{why}; {served.info.estimator} has no such plane. A model that was trained with <code>bilinear train RATINGS --task ratings</code> has one.</p>
    </Part></div>
  );
}

function AskedMap({ served, item }: { served: Served; item: string | null }) {
  const { value, problem } = useAnswer(() => mapOf(served.info.model), served.info.model);
  if ((problem as ApiError | null)?.code === "no_map") {
    return <NoMap served={served} why={problem!.message[0].toUpperCase() + problem!.message.slice(1)} />;
  }
  return <>
    <h1 class="unseen">Map of the items</h1>
    {problem && <div class="narrow"><Failed problem={problem} /></div>}
    {value ? <MapOf data={value} served={served} wanted={item} /> : !problem && <p class="hint">Reading the map…</p>}
  </>;
}

const STEPS = 100;

function MapOf({ data, served, wanted }: { data: ItemMap; served: Served; wanted: string | null }) {
  const session = useSession();
  const ground = useRef<HTMLCanvasElement>(null), canvas = useRef<HTMLCanvasElement>(null);
  const plane = useRef<Plane | null>(null);
  const [byBias, setByBias] = useState(!data.categories.length);
  const [shown, setShown] = useState(-1), [level, setLevel] = useState(0), [mine, setMine] = useState(true);
  const [tip, setTip] = useState<{ item: number; x: number; y: number } | null>(null);
  const [chosen, setChosen] = useState(-1), [open, setOpen] = useState<string | null>(null);
  const [sight, setSight] = useState<number[]>([]), [listed, setListed] = useState(false);
  const rows = useMemo(() => new Map(data.items.map((item, row) => [item, row])), [data]);
  const searchable = useMemo(() => data.titles.map(plain), [data]);
  const most = useMemo(() => data.n_ratings.reduce((top, one) => Math.max(top, one), 1), [data]);
  const least = level ? Math.ceil(Math.pow(most, level / STEPS)) : 0;
  const nShown = useMemo(() => data.n_ratings.filter((one) => one >= least).length, [data, least]);
  const timer = useRef(0);

  useEffect(() => {
    const made = new Plane(data, ground.current!, canvas.current!, {
      onHover: (item, x, y) => setTip(item < 0 ? null : { item, x, y }),
      onChoose: (item) => setChosen(item),
      onView: () => { clearTimeout(timer.current); timer.current = window.setTimeout(() => setSight(made.inSight(40)), 150); },
    });
    plane.current = made;
    setSight(made.inSight(40));
    return () => { clearTimeout(timer.current); made.free(); plane.current = null; };
  }, [data]);
  useEffect(() => plane.current?.show({ byBias, shown, least }), [data, byBias, shown, least]);

  // The items of who is asking: what they rated, and what is recommended to them.
  const list = useAnswer((signal) => session.user === null ? api.recommendSession(session.ratings, 10, [], signal)
    : api.recommend(session.user, 10, [], signal), `${session.user} ${session.version}`).value;
  useEffect(() => {
    const places = (items: { item: string }[]) => new Set(items.map((one) => rows.get(one.item)).filter((row) => row !== undefined));
    const fresh = new Set(data.items.slice(data.items.length - data.n_new).map((_, at) => data.items.length - data.n_new + at));
    plane.current?.mark(mine && list?.personal ? { rated: places(session.ratings.slice(0, 200)), recommended: places(list.items), fresh }
      : { rated: new Set(), recommended: new Set(), fresh });
  }, [data, list, mine, session.version]);

  const near = useAnswer(() => chosen < 0 || !served.info.can_similar ? Promise.resolve(null) : api.similar(data.items[chosen], 8), String(chosen));
  const alike = near.waiting ? null : near.value;
  useEffect(() => plane.current?.choose(chosen, (alike?.items ?? []).map((one) => rows.get(one.item)).filter((row) => row !== undefined)), [data, chosen, alike]);
  const fly = (row: number) => { setChosen(row); plane.current?.flyTo(row); };
  useEffect(() => { const row = wanted === null ? undefined : rows.get(wanted); if (row !== undefined) fly(row); }, [wanted, data]);

  const find = async (words: string): Promise<Choice[]> => {
    const wanted = plain(words.trim()), starts: number[] = [], holds: number[] = [];
    for (const row of plane.current?.byRatings ?? []) {
      const at = searchable[row].indexOf(wanted);
      if (at === 0) starts.push(row); else if (at > 0) holds.push(row);
      if (starts.length >= 12) break;
    }
    return [...starts, ...holds].slice(0, 12).map((row) => ({ id: data.items[row], name: data.titles[row], note: plural(data.n_ratings[row], "rating") }));
  };

  return (
    <section class={`map${chosen >= 0 ? " has-chosen" : ""}`} aria-label="Map of the items">
      <div class="map-bar">
        <Finder label="Find an item by its title" placeholder="Find a title" find={find} nothing={(words) => `no title with “${words}”`}
          onChoose={({ id }) => { const row = rows.get(id); if (row !== undefined) fly(row); }} />
        {data.categories.length > 0 && (
          <label class="map-field"><span class="roomy">colour by</span>
            <select aria-label="Colour by" value={byBias ? "bias" : "genre"} onChange={(event) => setByBias(event.currentTarget.value === "bias")}>
              <option value="genre">genre</option><option value="bias">bias</option>
            </select>
          </label>
        )}
        <label class="map-field"><span class="unseen">Items with at least so many ratings</span>
          <input type="range" min="0" max={STEPS - 15} value={level} aria-valuetext={least > 1 ? `${least} ratings or more` : "all items"}
            onInput={(event) => setLevel(Number(event.currentTarget.value))} />
          <output>{least > 1 ? `${count(nShown)} with ${count(least)}+` : `all ${count(data.items.length)}`}</output>
        </label>
        {list?.personal && <label class="map-field"><input type="checkbox" checked={mine} onChange={(event) => setMine(event.currentTarget.checked)} /> my items</label>}
      </div>
      <Legend data={data} byBias={byBias} shown={shown} onShown={setShown} mine={mine && !!list?.personal} />
      <div class="map-stage">
        <canvas ref={ground} aria-hidden="true" />
        <canvas ref={canvas} tabIndex={0} role="application" aria-label="Map of the items" aria-describedby="map-help" />
        {tip && <Tip {...tip} data={data} stage={canvas.current!} />}
        <div class="map-zoom" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom in" onClick={() => plane.current?.zoom(1.6)}>+</button>
          <button type="button" aria-label="Zoom out" onClick={() => plane.current?.zoom(1 / 1.6)}>−</button>
          <button type="button" aria-label="Show the whole map" onClick={() => plane.current?.showAll()}>⤢</button>
        </div>
        {chosen >= 0 && (
          <aside class="map-panel" aria-label="Chosen item" aria-live="polite">
            <h3><bdi>{data.titles[chosen]}</bdi></h3>
            <button type="button" class="close" aria-label="Let go" onClick={() => { setChosen(-1); canvas.current?.focus(); }}>×</button>
            <p>{facts(data, chosen)}</p>
            <p><button type="button" class="main small" onClick={() => setOpen(data.items[chosen])}>Rate it, ask why</button></p>
            {alike && <><h4>Similar</h4><ol>{alike.items.map((one) => (
              <li key={one.item}><button type="button" onClick={() => { const row = rows.get(one.item); if (row !== undefined) fly(row); }}>
                <bdi class="name">{one.title}</bdi><span class="number">{one.similarity.toFixed(2)}</span></button></li>
            ))}</ol></>}
          </aside>
        )}
      </div>
      <p class="map-help" id="map-help">Nearby items are liked by the same users. Drag to move, wheel or pinch to zoom, click a point for the items like it. <span class="keys">Keys on the map: arrows move, + and − zoom, 0 shows all, Enter chooses the item at the centre, Escape lets go.</span></p>
      <details class="sight" open={listed} onToggle={(event) => setListed(event.currentTarget.open)}>
        <summary>The most rated items in sight, as a list</summary>
        {listed && <ol class="plain-list">{sight.map((row) => (
          <li key={row}><button type="button" class="title" onClick={() => setOpen(data.items[row])}><bdi>{data.titles[row]}</bdi></button><span class="faint">{facts(data, row)}</span></li>
        ))}</ol>}
      </details>
      {open !== null && <ItemDrawer item={open} served={served} onItem={setOpen} onClose={() => setOpen(null)} />}
    </section>
  );
}

function facts(data: ItemMap, row: number): string {
  const bias = data.biases[row], genre = data.categories[data.category[row]];
  return [row >= data.items.length - data.n_new ? "new" : null, genre, plural(data.n_ratings[row], "rating"), bias ? `bias ${signed(bias)}` : null].filter(Boolean).join(" · ");
}

function Tip({ item, x, y, data, stage }: { item: number; x: number; y: number; data: ItemMap; stage: HTMLElement }) {
  const left = x > stage.clientWidth / 2, above = y > stage.clientHeight / 2;
  return (
    <div class="map-tip" style={{
      left: left ? "auto" : `${x + 14}px`, right: left ? `${stage.clientWidth - x + 14}px` : "auto",
      top: above ? "auto" : `${y + 14}px`, bottom: above ? `${stage.clientHeight - y + 14}px` : "auto",
    }}><strong>{data.titles[item]}</strong><span>{facts(data, item)}</span></div>
  );
}

function useDark(): boolean {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [dark, set] = useState(query.matches);
  useEffect(() => {
    const changed = () => set(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

function Legend({ data, byBias, shown, onShown, mine }: {
  data: ItemMap; byBias: boolean; shown: number; onShown: (shown: number) => void; mine: boolean;
}) {
  const palette = useDark() ? DARK : LIGHT, n = Math.min(palette.genres.length, data.categories.length);
  const marks = <span class="note">
    {mine && <><span class="swatch ring rated" /> rated by you <span class="swatch ring given" /> recommended to you</>}
    {data.n_new > 0 && <> <span class="swatch ring fresh" /> new</>}
  </span>;
  if (byBias) {
    return (
      <div class="map-legend" role="group" aria-label="Colours">
        <span class="number">liked less</span>
        {palette.bias.map((colour) => <span key={colour} class="swatch patch" style={{ background: colour }} />)}
        <span class="number">liked more by all users</span>{marks}
      </div>
    );
  }
  const names = [...data.categories.slice(0, n), ...(data.category.some((at) => at < 0 || at >= n) ? ["other"] : [])];
  const all = (1 << n + 1) - 1, now = shown & all;
  // The first press leaves one alone; then each goes on or off.
  const toggle = (at: number) => onShown(now === all ? 1 << at : (now ^ 1 << at) || -1);
  return (
    <div class="map-legend" role="group" aria-label="Genres shown">
      {names.map((name, at) => (
        <button key={name} type="button" class="genre" aria-pressed={(now >> at & 1) === 1} onClick={() => toggle(at)}>
          <span class="swatch" style={{ background: palette.genres.slice(0, n)[at] ?? palette.other }} />{name}
        </button>
      ))}
      {now !== all && <button type="button" class="genre all" onClick={() => onShown(-1)}>all</button>}
      {marks}
    </div>
  );
}
