// The map in a report or in a file of its own: everything it shows lies in the page.

import { render } from "preact";
import type { ItemMap } from "./api";
import { MapView, type Near } from "./map_view";

interface StoredMap extends ItemMap {
  genreTexts: string[]; genreText: number[];
  nearestEach: number; nearestOf: number[]; nearest: number[]; cosines: number[];
}

const data = JSON.parse(document.getElementById("map-data")!.textContent!) as StoredMap | null;
const place = document.getElementById("map");
if (data && place) {
  const stored = new Map(data.nearestOf.map((item, at) => [item, at * data.nearestEach]));
  const near = async (row: number): Promise<Near[] | null> => {
    const start = stored.get(row);
    if (start === undefined) return null;
    const places = Array.from({ length: data.nearestEach }, (_, at) => start + at);
    return places.filter((at) => data.nearest[at] >= 0).map((at) => ({ row: data.nearest[at], cosine: data.cosines[at] / 100 }));
  };
  const genresOf = (row: number) => data.genreTexts[data.genreText[row]].split("|").join(", ");
  place.replaceChildren();
  render(<MapView data={data} near={near} genresOf={genresOf} inReport={!document.body.classList.contains("map-page")} />, place);
}
