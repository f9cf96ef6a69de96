// A new item by its features: stored by the server, and in lists and on the map at once.

import { useState } from "preact/hooks";
import { api, type Column, type Put } from "./api";
import { forgetMap } from "./map";
import { Failed, useAnswer } from "./parts";
import { listsChanged, type Served } from "./state";
import { plural } from "./words";

export function AddItem({ served, onOpen }: { served: Served; onOpen: (item: string) => void }) {
  const [open, setOpen] = useState(false);
  if (!served.info.has_item_features) return null;
  return (
    <details class="add" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Add an item that nobody has rated</summary>
      {open && <AddForm onOpen={onOpen} />}
    </details>
  );
}

function AddForm({ onOpen }: { onOpen: (item: string) => void }) {
  const columns = useAnswer(() => api.columns(), "columns");
  const [id, setId] = useState(""), [title, setTitle] = useState(""), [cells, setCells] = useState<Record<string, string>>({});
  const [put, setPut] = useState<Put | null>(null), [problem, setProblem] = useState<Error | null>(null);
  const features = columns.value?.items.filter((one) => one.is_feature) ?? [];

  const send = async (event: Event) => {
    event.preventDefault();
    setProblem(null);
    try {
      setPut(await api.putItem(id, title.trim() || null, valuesOf(features, cells)));
      changed();
    } catch (error) {
      setPut(null);
      setProblem(error as Error);
    }
  };
  const takeBack = async () => {
    try {
      await api.removeItem(put!.id);
      setPut(null);
      changed();
    } catch (error) {
      setProblem(error as Error);
    }
  };
  return (
    <form onSubmit={(event) => void send(event)}>
      <label>Id <input required maxLength={256} autocomplete="off" value={id} onInput={(event) => setId(event.currentTarget.value)} /></label>
      <label>Title <input maxLength={10_000} autocomplete="off" value={title} onInput={(event) => setTitle(event.currentTarget.value)} /></label>
      {features.map((column) => (
        <label key={column.column}>
          <span>{column.column} <span class="faint">{HINTS[column.kind] ?? ""}</span></span>
          <input autocomplete="off" value={cells[column.column] ?? ""} inputMode={column.kind === "number" ? "decimal" : "text"}
            placeholder={column.kind === "categories" ? column.values.slice(0, 3).join(", ") : ""}
            onInput={(event) => setCells({ ...cells, [column.column]: event.currentTarget.value })} />
        </label>
      ))}
      <button type="submit" class="main">Add it</button>
      <Failed problem={problem ?? columns.problem} />
      {put && (
        <div class="added" role="status">
          <p><strong>Stored, and in all lists now.</strong> {put.trained ? "It has training ratings, so that it keeps its place." : "It is placed by its features alone."}{remarks(put)}</p>
          <p>
            <button type="button" onClick={() => onOpen(put.id)}>See it</button>{" "}
            <a href={`#/map?item=${encodeURIComponent(put.id)}`}>Show it on the map</a>{" "}
            <button type="button" class="plain" onClick={() => void takeBack()}>Take it back</button>
          </p>
        </div>
      )}
    </form>
  );
}

const HINTS: Record<string, string> = { categories: "one or several, with commas between", number: "a number", dates: "a date", vector: "numbers" };

function valuesOf(columns: Column[], cells: Record<string, string>): Record<string, string | string[]> {
  const given = columns.filter((one) => cells[one.column]?.trim());
  return Object.fromEntries(given.map(({ column, kind }) => {
    const text = cells[column].trim();
    return [column, kind === "categories" ? text.split(",").map((part) => part.trim()).filter(Boolean) : text];
  }));
}

/** What the model could not use. */
function remarks(put: Put): string {
  const ignored = Object.entries(put.ignored).map(([column, values]) => `${values.join(", ")} (${column})`);
  return (ignored.length ? ` Training has not met ${ignored.join("; ")}.` : "")
    + (put.missing.length ? ` Without ${plural(put.missing.length, "feature")} (${put.missing.join(", ")}) the mean answers.` : "");
}

function changed(): void {
  forgetMap();
  listsChanged();
}
