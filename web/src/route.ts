// Views are parts of the address after "#": they can be bookmarked, and the server needs to know none of them.

import { useEffect, useState } from "preact/hooks";

export interface Route { view: string; query: URLSearchParams }

function current(): Route {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view, query: new URLSearchParams(query) };
}

export function useRoute(): Route {
  const [route, set] = useState(current);
  useEffect(() => {
    const changed = () => { set(current()); scrollTo(0, 0); };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

export function go(view: string, query: Record<string, string>): void {
  const words = new URLSearchParams(query);
  location.hash = `#/${view}${words.size ? `?${words}` : ""}`;
}
