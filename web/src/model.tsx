// How the model was measured and trained, what the lab says, and new models.

import { useEffect, useState } from "preact/hooks";
import { api, type RetrainState } from "./api";
import { Charts } from "./charts";
import { Part, Scrolling, Term, useAnswer } from "./parts";
import type { Served } from "./state";
import { count, number, percent, plural, signed, when } from "./words";
import { Lab } from "./lab";
import { scoresOf, verdictOf, type Metric } from "./scores";

type Loose = Record<string, unknown>;
const loose = (value: unknown): Loose => value !== null && typeof value === "object" && !Array.isArray(value) ? value as Loose : {};

export function ModelView({ served, onChange }: { served: Served; onChange: () => Promise<void> }) {
  const { info, report } = served, measured = report.report;
  const verdict = verdictOf(measured, info), metrics = scoresOf(measured);
  return (
    <div class="wide">
      <p class="over">{info.estimator} of {count(info.n_users)} users and {count(info.n_items)} items, from {info.source}</p>
      <h1 class={`verdict ${verdict.better === null ? "" : verdict.better ? "good" : "bad"}`}>{verdict.headline}</h1>
      {verdict.lead && <p class="lead">{verdict.lead}</p>}
      {verdict.detail && <p class="faint">{verdict.detail}</p>}
      {metrics.length > 0 && (
        <Part head="Held out">
          <p class="faint"><Term name="held out">Held out</Term>: {[measured.split, measured.protocol].filter((one) => typeof one === "string").join(", ") || "ratings that no model saw in training"}.</p>
          <Charts drawn={report.charts.scores} />
          {metrics.map((metric) => <Scores key={metric.name} metric={metric} mine={verdict.name} />)}
        </Part>
      )}
      <Training history={loose(report.history)} drawn={report.charts.training} />
      <Search search={loose(report.search)} />
      <Part head="The lab's verdict"><Lab report={measured} canPredict={info.can_predict} source={info.source} /></Part>
      <Data data={loose(measured.data)} />
      <NewModels served={served} onChange={onChange} />
      <Part head="Settings">
        <details><summary>{plural(Object.keys(info.arguments).length, "argument")} of {info.estimator}, version {info.model}</summary>
          <Scrolling><tbody>
            {Object.entries(info.arguments).map(([name, value]) => <tr key={name}><th class="k" scope="row">{name}</th><td><code>{value}</code></td></tr>)}
          </tbody></Scrolling>
        </details>
      </Part>
    </div>
  );
}

function Scores({ metric, mine }: { metric: Metric; mine: string | null }) {
  const paired = metric.rows.some((row) => row.difference);
  return (
    <Scrolling kind="scores">
      <thead><tr><th>model</th><th class="n"><MetricName name={metric.name} /></th><th class="n"><Term name="95% interval" /></th>{paired && <th class="n">{metric.name} − {metric.baseline}'s</th>}</tr></thead>
      <tbody>{metric.rows.map((row) => (
        <tr key={row.name} class={row.name === mine ? "mine" : ""}>
          <th class="k" scope="row">{row.name}</th><td class="n">{row.value.toFixed(4)}</td>
          <td class="n faint">[{row.low.toFixed(4)}, {row.high.toFixed(4)}]</td>
          {paired && <td class="n">{row.difference ? `${signed(row.difference.value, 4)} [${signed(row.difference.low, 4)}, ${signed(row.difference.high, 4)}]` : ""}</td>}
        </tr>
      ))}</tbody>
    </Scrolling>
  );
}

function MetricName({ name }: { name: string }) {
  const [word] = name.split("@");
  return word === "RMSE" || word === "MAE" || word === "NDCG" || word === "recall" ? <Term name={word}>{name}</Term> : <>{name}</>;
}

function Training({ history, drawn }: { history: Loose; drawn: string[] | undefined }) {
  const n = Array.isArray(history.epochs) ? history.epochs.length : 0, best = number(history.best_epoch);
  const ended = typeof history.ended === "string" ? history.ended : "";
  return (
    <Part head="Training">
      <Charts drawn={drawn} />
      <p class="faint">{n ? <>{count(n)} <Term name="epoch">{n === 1 ? "epoch" : "epochs"}</Term>{""}{ended && `, ${ended}`}{best ? `; the weights of epoch ${best} were kept (the dot)` : ""}.</>
        : ended && ended !== "all epochs done" ? `${ended[0].toUpperCase()}${ended.slice(1)}: no epochs.` : "No epochs are kept with this model."}</p>
    </Part>
  );
}

const HEADS: Record<string, string> = { l2: "L2", l2_biases: "L2 of biases", n_factors: "factors", validation_rmse: "validation RMSE", stage: "stage" };

function Search({ search }: { search: Loose }) {
  const trials = Array.isArray(search.trials) ? search.trials.map(loose) : [];
  if (!trials.length) return null;
  const columns = ["stage", "n_factors", "l2", "l2_biases", "validation_rmse"].filter((name) => trials.some((trial) => name in trial));
  const text = (value: unknown) => typeof value === "number" ? Number(value.toPrecision(4)).toString() : String(value ?? "");
  const isKept = (trial: Loose) => trial.kept === true || trial.chosen === true;
  return (
    <Part head="Search">
      <details><summary>{plural(trials.length, "trial")} on an inner validation part</summary>
        <Scrolling>
          <thead><tr>{columns.map((name) => <th key={name} class={name === "stage" ? "k" : "n"}>{HEADS[name]}</th>)}</tr></thead>
          <tbody>{trials.map((trial, at) => <tr key={at} class={isKept(trial) ? "mine" : ""}>{columns.map((name) => <td key={name} class={name === "stage" ? "k" : "n"}>{text(trial[name])}</td>)}</tr>)}</tbody>
        </Scrolling>
      </details>
    </Part>
  );
}

function Data({ data }: { data: Loose }) {
  const tiles = ([
    ["ratings", number(data.n_ratings), count], ["users", number(data.n_users), count], ["items", number(data.n_items), count],
    ["of all pairs are rated", number(data.density), (value: number) => percent(value, 2)], ["mean rating", data.has_ratings === false ? null : number(data.mean_rating), (value: number) => value.toFixed(2)],
    ["median ratings a user", number(data.median_ratings_per_user), count], ["median ratings an item", number(data.median_ratings_per_item), count],
  ] as [string, number | null, (value: number) => string][]).filter(([, value]) => value !== null);
  if (!tiles.length) return null;
  return <Part head="Data"><dl class="tiles">{tiles.map(([name, value, form]) => <div key={name}><dd>{form(value!)}</dd><dt>{name}</dt></div>)}</dl></Part>;
}

const STATES: Record<string, string> = { running: "Training", live: "A new model is live", refused: "The new model was refused", failed: "Training failed" };

function NewModels({ served, onChange }: { served: Served; onChange: () => Promise<void> }) {
  const [state, setState] = useState<RetrainState | null>(null), [said, setSaid] = useState<string | null>(null);
  const [asked, setAsked] = useState(0);
  const first = useAnswer(() => api.retrainState(), served.info.model).value;
  const now = state ?? first;
  useEffect(() => {
    if (now?.state !== "running") return;
    const timer = setTimeout(async () => {
      try {
        const next = await api.retrainState();
        setState(next);
        if (next.state === "live") await onChange();
      } catch { setAsked(asked + 1); }
    }, 1000);
    return () => clearTimeout(timer);
  }, [now, asked]);
  const act = async (call: () => Promise<unknown>, done: string) => {
    setSaid(null);
    try {
      await call();
      setSaid(done);
      await onChange();
    } catch (error) { setSaid((error as Error).message); }
  };
  const start = async () => {
    setSaid(null);
    try { setState(await api.retrain()); } catch (error) { setSaid((error as Error).message); }
  };
  return (
    <Part head="New models">
      <p>Training again uses all feedback, in a separate process; the new model goes live only if it scores no worse on held-out ratings.</p>
      <p class="buttons">
        <button type="button" class="main" disabled={now?.state === "running"} onClick={() => void start()}>{now?.state === "running" ? "Training…" : "Train with all feedback"}</button>
        <button type="button" disabled={!served.info.n_earlier} onClick={() => void act(api.rollback, "The model before is live again.")}>Roll back{served.info.n_earlier ? ` (${plural(served.info.n_earlier, "earlier model")})` : ""}</button>
        <button type="button" onClick={() => void act(api.reload, "The folder was opened again.")}>Reload the folder</button>
      </p>
      <p class="faint" role="status">
        {said ?? (now && now.state !== "never" ? `${STATES[now.state]}${now.ended_at === null ? "" : `, ${when(now.ended_at)}`}: ${now.message}.` : `Live since ${when(served.info.loaded_at)}; feedback goes to ${served.info.feedback}.`)}
      </p>
    </Part>
  );
}
