// Why an item: the score taken apart, as bars from a common zero.

import { api, type Explained, type Rating } from "./api";
import { Failed, useAnswer } from "./parts";
import { useSession, type Scale } from "./state";
import { plural, short, signed } from "./words";

interface Line { what: string; item?: string; value: number; kind: "all" | "own" | "rest" }

/** For who is asking. */
export function Why({ item, scale }: { item: string; scale: Scale }) {
  const { user, ratings, version } = useSession();
  return <WhyOf user={user} ratings={ratings} item={item} scale={scale} stamp={String(version)} />;
}

/** For a user, or for a session of these ratings; asked again when `stamp` changes. */
export function WhyOf({ user, ratings, item, scale, stamp }: {
  user: string | null; ratings: readonly Rating[] | null; item: string; scale: Scale; stamp: string;
}) {
  const { value, problem } = useAnswer(
    () => user === null ? api.explainSession(ratings ?? [], item) : api.explain(user, item), `${user} ${stamp} ${item}`);
  const whose = ratings ? "your" : "their";
  if (problem) return <Failed problem={problem} />;
  if (!value) return <p class="faint">…</p>;
  const lines = linesOf(value, ratings?.length ?? null, scale, whose), least = lines.some((line) => line.value < 0) ? -100 : 0, most = Math.max(...lines.map((line) => Math.abs(line.value)), 1e-9);
  const total = value.prediction === null ? `score ${short3(value.score)}`
    : Math.abs(value.score - value.prediction) > 0.005 ? `score ${value.score.toFixed(2)}, predicted rating ${value.prediction.toFixed(2)}`
    : `predicted rating ${value.prediction.toFixed(2)}`;
  const start = value.global_mean && value.basis !== "non-personal" || value.prediction !== null;
  return (
    <div class="why">
      <p>{start ? <>The mean of all ratings is <b>{value.global_mean.toFixed(2)}</b>; these parts move it to the <b>{total}</b>:</> : <>The parts of the <b>{total}</b>:</>}</p>
      {lines.length > 0 ? (
        <ul>
          {lines.map((line) => (
            <li key={line.item ?? line.what} class={line.kind}>
              <bdi>{line.what}</bdi>
              <svg viewBox={`${least} 0 ${100 - least} 10`} preserveAspectRatio="none" aria-hidden="true">
                <line x1="0" x2="0" y1="-2" y2="12" class="grid" vector-effect="non-scaling-stroke" />
                <rect y="1" height="8" x={line.value < 0 ? 96 * line.value / most : 0} width={Math.max(0.8, 96 * Math.abs(line.value) / most)} class={line.value < 0 ? "less" : "more"} />
              </svg>
              <span class="number">{signed(line.value, most < 0.1 ? 3 : 2)}</span>
            </li>
          ))}
        </ul>
      ) : <p class="faint">Nothing personal is known yet, so this is the list for all users.</p>}
    </div>
  );
}

const short3 = (value: number) => Math.abs(value) >= 0.01 ? value.toFixed(3) : value.toPrecision(2);

function linesOf(found: Explained, n: number | null, scale: Scale, whose: string): Line[] {
  const lines: Line[] = [];
  if (Math.abs(found.item_bias) > 1e-9) {
    lines.push({ what: found.item_bias > 0 ? "rated above the mean by all users" : "rated below the mean by all users", value: found.item_bias, kind: "all" });
  }
  for (const one of found.contributions) {
    const given = scale.kind === "like" ? `${whose} like of` : `${whose} ${short(one.rating)} for`;
    lines.push({ what: `${given} ${one.title}`, item: one.item, value: one.contribution, kind: "own" });
  }
  const others = n === null ? 0 : n - found.contributions.length, noun = scale.kind === "like" ? "like" : "rating";
  if (Math.abs(found.others) > 5e-4) lines.push({ what: others > 0 ? `${whose} ${plural(others, `other ${noun}`)}` : `${whose} other ${noun}s`, value: found.others, kind: "own" });
  if (found.basis !== "non-personal" && Math.abs(found.rest) > 5e-3) lines.push({ what: found.basis === "training" ? "found in training beyond these" : "joint effect of these", value: found.rest, kind: "rest" });
  return lines;
}
