// The map of items as it is in the served page, in reports and in a file of its own: what is near is liked by the
// same people. Titles are data from elsewhere: they are only ever set as text or drawn.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ItemMap } from "./api";
import { DARK, LIGHT } from "./palette";
import { Finder, type Choice } from "./parts";
import { Plane } from "./plane";
import { count, plain, plural, signed } from "./words";

export interface Near { row: number; cosine: number }
interface Props {
  data: ItemMap;
  wanted?: number;                                    // the row to fly to
  mine?: { rated: number[]; recommended: number[] };  // what to ring as theirs
  near: (row: number) => Promise<Near[] | null>;      // null: not known for this item
  genresOf?: (row: number) => string;                 // in full, where they are known
  onOpen?: (row: number) => void;
  inReport?: boolean;                                 // a part of a longer page: it can be enlarged
  children?: ComponentChildren;                       // further controls
}

const STEPS = 100;
const NOTHING = { rated: [], recommended: [] };

export function MapView({ data, wanted, mine, near, genresOf, onOpen, inReport = false, children }: Props) {
  const ground = useRef<HTMLCanvasElement>(null), canvas = useRef<HTMLCanvasElement>(null);
  const plane = useRef<Plane | null>(null);
  const [byBias, setByBias] = useState(!data.categories.length);
  const [shown, setShown] = useState(-1), [level, setLevel] = useState(0);
  const [tip, setTip] = useState<{ item: number; x: number; y: number } | null>(null);
  const [chosen, setChosen] = useState(-1), [alike, setAlike] = useState<{ of: number; items: Near[] | null } | null>(null);
  const [sight, setSight] = useState<number[]>([]), [listed, setListed] = useState(false), [large, setLarge] = useState(false);
  const searchable = useMemo(() => data.titles.map(plain), [data]);
  const most = useMemo(() => data.n_ratings.reduce((top, one) => Math.max(top, one), 1), [data]);
  const least = level ? Math.ceil(Math.pow(most, level / STEPS)) : 0;
  const nShown = useMemo(() => data.n_ratings.filter((one) => one >= least).length, [data, least]);
  const timer = useRef(0), isLarge = useRef(false);

  useEffect(() => {
    const made = new Plane(data, ground.current!, canvas.current!, {
      onHover: (item, x, y) => setTip(item < 0 ? null : { item, x, y }),
      onChoose: (item) => setChosen(item),
      onView: () => { clearTimeout(timer.current); timer.current = window.setTimeout(() => setSight(made.inSight(40)), 150); },
      // Inside a longer page the wheel scrolls the page until the map has been clicked.
      takesWheel: (event) => !inReport || isLarge.current || event.ctrlKey || document.activeElement === canvas.current,
    });
    plane.current = made;
    setSight(made.inSight(40));
    return () => { clearTimeout(timer.current); made.free(); plane.current = null; };
  }, [data]);
  useEffect(() => plane.current?.show({ byBias, shown, least }), [data, byBias, shown, least]);
  useEffect(() => {
    const { rated, recommended } = mine ?? NOTHING, n = data.items.length;
    const fresh = new Set(Array.from({ length: data.n_new }, (_, at) => n - data.n_new + at));
    plane.current?.mark({ rated: new Set(rated), recommended: new Set(recommended), fresh });
  }, [data, mine]);
  useEffect(() => {
    isLarge.current = large;
    document.documentElement.classList.toggle("map-is-large", large);
  }, [large]);
  useEffect(() => {
    let asked = true;
    if (chosen < 0) setAlike(null);
    else near(chosen).then((items) => { if (asked) setAlike({ of: chosen, items }); }, () => { if (asked) setAlike({ of: chosen, items: null }); });
    return () => { asked = false; };
  }, [chosen, data]);
  const neighbours = alike?.of === chosen ? alike.items : null;
  useEffect(() => plane.current?.choose(chosen, (neighbours ?? []).map((one) => one.row)), [data, chosen, neighbours]);
  const fly = (row: number) => { setChosen(row); plane.current?.flyTo(row); };
  useEffect(() => { if (wanted !== undefined) fly(wanted); }, [wanted, data]);
  const letGo = () => { setChosen(-1); canvas.current?.focus({ preventScroll: true }); };

  const find = async (text: string): Promise<Choice[]> => {
    const wordsOf = plain(text).split(/[\s,]+/).filter(Boolean), found: [number, number][] = [];
    for (const row of plane.current?.byRatings ?? []) {
      const score = data.items[row] === text.trim() ? 100 : scoreOf(searchable[row], wordsOf);
      if (score > 0) found.push([score, row]);
    }
    return found.sort((a, b) => b[0] - a[0]).slice(0, 12)
      .map(([, row]) => ({ id: String(row), name: data.titles[row], note: plural(data.n_ratings[row], "rating") }));
  };

  const facts = (row: number) => factsOf(data, row, genresOf?.(row));
  return (
    <section class={`map${chosen >= 0 ? " has-chosen" : ""}${large ? " large" : ""}`} aria-label="Map of the items">
      <div class="map-bar">
        <Finder label="Find an item by its title" placeholder="Find a title" find={find} nothing={(words) => `no title with “${words}”`}
          onChoose={({ id }) => fly(Number(id))} />
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
        {children}
        {inReport && <button type="button" class="map-enlarge" aria-pressed={large} onClick={() => setLarge(!large)}>{large ? "Back to the page" : "Enlarge"}</button>}
      </div>
      <Legend data={data} byBias={byBias} shown={shown} onShown={setShown} mine={mine !== undefined} />
      <div class="map-stage">
        <canvas ref={ground} aria-hidden="true" />
        <canvas ref={canvas} tabIndex={0} role="application" aria-label="Map of the items" aria-describedby="map-help"
          onKeyDown={(event) => { if (event.key === "Escape" && chosen < 0) setLarge(false); }} />
        {tip && <Tip {...tip} title={data.titles[tip.item]} facts={facts(tip.item)} stage={canvas.current!} />}
        <div class="map-zoom" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom in" onClick={() => plane.current?.zoom(1.6)}>+</button>
          <button type="button" aria-label="Zoom out" onClick={() => plane.current?.zoom(1 / 1.6)}>−</button>
          <button type="button" aria-label="Show the whole map" onClick={() => plane.current?.showAll()}>⤢</button>
        </div>
        {chosen >= 0 && (
          <aside class="map-panel" aria-label="Chosen item" aria-live="polite" tabIndex={0} onKeyDown={(event) => { if (event.key === "Escape") letGo(); }}>
            <h3><bdi>{data.titles[chosen]}</bdi></h3>
            <button type="button" class="close" aria-label="Let go" onClick={letGo}>×</button>
            <p>{facts(chosen)}</p>
            {onOpen && <p><button type="button" class="main small" onClick={() => onOpen(chosen)}>Rate it, ask why</button></p>}
            {neighbours && neighbours.length > 0 && <><h4>Similar</h4><ol>{neighbours.map(({ row, cosine }) => (
              <li key={row}><button type="button" onClick={() => fly(row)}>
                <bdi class="name">{data.titles[row]}</bdi><span class="number">{cosine.toFixed(2)}</span></button></li>
            ))}</ol></>}
          </aside>
        )}
      </div>
      <p class="map-help" id="map-help">{inReport && <span class="keys">Click the map first if the wheel is to zoom. </span>}Nearby items are liked by the same users. Drag to move, wheel or pinch to zoom, click a point for the items like it. <span class="keys">Keys on the map: arrows move, + and − zoom, 0 shows all, Enter chooses the item at the centre, Escape lets go.</span></p>
      <details class="sight" open={listed} onToggle={(event) => setListed(event.currentTarget.open)}>
        <summary>The most rated items in sight, as a list</summary>
        {listed && <ol class="plain-list">{sight.map((row) => (
          <li key={row}><button type="button" class="title" onClick={() => onOpen ? onOpen(row) : fly(row)}><bdi>{data.titles[row]}</bdi></button><span class="faint">{facts(row)}</span></li>
        ))}</ol>}
      </details>
    </section>
  );
}

/** 0 unless the title has all words; more where a word begins one of the title's. */
function scoreOf(title: string, words: string[]): number {
  let score = 0;
  for (const word of words) {
    const at = title.indexOf(word);
    if (at < 0) return 0;
    score += at === 0 || title.includes(` ${word}`) ? 2 : 1;
  }
  return score;
}

function factsOf(data: ItemMap, row: number, genres?: string): string {
  const bias = data.biases[row];
  return [row >= data.items.length - data.n_new ? "new" : null, genres ?? data.categories[data.category[row]],
    plural(data.n_ratings[row], "rating"), bias ? `bias ${signed(bias)}` : null].filter(Boolean).join(" · ");
}

function Tip({ item, x, y, title, facts, stage }: { item: number; x: number; y: number; title: string; facts: string; stage: HTMLElement }) {
  const left = x > stage.clientWidth / 2, above = y > stage.clientHeight / 2;
  return (
    <div class="map-tip" key={item} style={{
      left: left ? "auto" : `${x + 14}px`, right: left ? `${stage.clientWidth - x + 14}px` : "auto",
      top: above ? "auto" : `${y + 14}px`, bottom: above ? `${stage.clientHeight - y + 14}px` : "auto",
    }}><strong>{title}</strong><span>{facts}</span></div>
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
  const sizes = useMemo(() => {
    const found = new Array<number>(n + 1).fill(0);
    for (const at of data.category) found[at >= 0 && at < n ? at : n]++;
    return found;
  }, [data, n]);
  if (byBias) {
    return (
      <div class="map-legend" role="group" aria-label="Colours">
        <span class="number">liked less</span>
        {palette.bias.map((colour) => <span key={colour} class="swatch patch" style={{ background: colour }} />)}
        <span class="number">liked more by all users</span>{marks}
      </div>
    );
  }
  const names = [...data.categories.slice(0, n), "other"];
  const all = (1 << n + 1) - 1, now = shown & all;
  // The first press leaves one alone; then each goes on or off.
  const toggle = (at: number) => onShown(now === all ? 1 << at : (now ^ 1 << at) || -1);
  return (
    <div class="map-legend" role="group" aria-label="Genres shown">
      {names.map((name, at) => sizes[at] > 0 && (
        <button key={name} type="button" class="genre" aria-pressed={(now >> at & 1) === 1} onClick={() => toggle(at)}>
          <span class="swatch" style={{ background: palette.genres.slice(0, n)[at] ?? palette.other }} />{name} <span class="number">{count(sizes[at])}</span>
        </button>
      ))}
      {now !== all && <button type="button" class="genre all" onClick={() => onShown(-1)}>all</button>}
      {marks}
    </div>
  );
}
