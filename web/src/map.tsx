// The map in the served page: of the model that is live, with the items of who is asking.

import { useMemo, useState } from "preact/hooks";
import { api, type ApiError, type ItemMap } from "./api";
import { ItemDrawer } from "./item";
import { MapView, type Near } from "./map_view";
import { Failed, Part, useAnswer, Waiting } from "./parts";
import { useSession, type Served } from "./state";

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

export function ServedMap({ served, item }: { served: Served; item: string | null }) {
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
    {value ? <MapOf data={value} served={served} wanted={item} /> : !problem && <Waiting what="the map" />}
  </>;
}

function MapOf({ data, served, wanted }: { data: ItemMap; served: Served; wanted: string | null }) {
  const session = useSession();
  const [ringed, setRinged] = useState(true), [open, setOpen] = useState<string | null>(null);
  const rows = useMemo(() => new Map(data.items.map((item, row) => [item, row])), [data]);
  const rowsOf = (items: { item: string }[]) => items.flatMap(({ item }) => rows.get(item) ?? []);
  const list = useAnswer((signal) => session.user === null ? api.recommendSession(session.ratings, 10, [], signal)
    : api.recommend(session.user, 10, [], signal), `${session.user} ${session.version}`).value;
  const mine = useMemo(() => ringed && list?.personal ? { rated: rowsOf(session.ratings.slice(0, 200)), recommended: rowsOf(list.items) } : undefined,
    [data, list, ringed, session.version]);
  const near = async (row: number): Promise<Near[] | null> => {
    if (!served.info.can_similar) return null;
    const { items } = await api.similar(data.items[row], 8);
    return items.flatMap((one) => { const at = rows.get(one.item); return at === undefined ? [] : [{ row: at, cosine: one.similarity }]; });
  };
  return <>
    <MapView data={data} wanted={wanted === null ? undefined : rows.get(wanted)} mine={mine} near={near} onOpen={(row) => setOpen(data.items[row])}>
      {list?.personal && <label class="map-field"><input type="checkbox" checked={ringed} onChange={(event) => setRinged(event.currentTarget.checked)} /> my items</label>}
    </MapView>
    {open !== null && <ItemDrawer item={open} served={served} onItem={setOpen} onClose={() => setOpen(null)} />}
  </>;
}
