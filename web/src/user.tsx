// A user: history, biases, recommendations.

import { useState } from "preact/hooks";
import { api } from "./api";
import { findUsers } from "./recommend";
import { ItemDrawer } from "./item";
import { Drawer, Failed, Finder, Part, StarRow, Term, useAnswer, Waiting } from "./parts";
import { become, useSession, type Served } from "./state";
import { count, plural, short, signed, when } from "./words";
import { go } from "./route";
import { WhyOf } from "./why";

const PAGE = 50;

export function UserView({ served, user }: { served: Served; user: string | null }) {
  return (
    <div class="narrow">
      <h1 class="unseen">Users</h1>
      <Finder label="Find a user by id" placeholder="User id" find={findUsers} nothing={() => ""} onChoose={({ id }) => go("user", { id })} />
      {user === null ? <Several served={served} /> : <One key={user} user={user} served={served} />}
    </div>
  );
}

function Several({ served }: { served: Served }) {
  const { value, problem } = useAnswer(() => api.users(""), "users");
  return (
    <Part head={`${count(served.info.n_users)} users`}>
      <p class="faint">Type an id, or begin with one of these.</p>
      <Failed problem={problem} />
      <ul class="chips">
        {value?.users.map((one) => (
          <li key={one.user}><a href={`#/user?id=${encodeURIComponent(one.user)}`}><bdi>{one.user}</bdi> <span class="number">{plural(one.n_ratings, "rating")}</span></a></li>
        ))}
      </ul>
    </Part>
  );
}

const BASIS: Record<string, string> = {
  training: "as trained", feedback: "folded in, with feedback", session: "this session", "non-personal": "nothing known yet",
};

function One({ user, served }: { user: string; served: Served }) {
  const session = useSession(), { scale } = served;
  const [offset, setOffset] = useState(0), [open, setOpen] = useState<string | null>(null);
  const stamp = session.user === user ? session.version : 0;
  const { value: record, problem, waiting } = useAnswer(() => api.user(user, PAGE, offset), `${user} ${offset} ${stamp}`);
  const list = useAnswer((signal) => api.recommend(user, 10, [], signal), `${user} ${stamp}`);
  const unknown = record === null && !problem && !waiting;
  return (
    <>
      <div class="user-head">
        <h2>User <bdi>{user}</bdi></h2>
        <button type="button" class="main" onClick={() => { void become(user); go("", {}); }}>Rate as this user</button>
      </div>
      {unknown ? <p class="hint">This user is unknown so far. Until the first rating they get the list for all users.</p> : <Failed problem={problem} />}
      {waiting && !record && <Waiting what="this user" />}
      {record && (
        <dl class="tiles">
          <div><dd>{count(record.n_ratings)}</dd><dt>ratings now</dt></div>
          <div><dd>{count(record.n_training)}</dd><dt>in training</dt></div>
          <div><dd>{count(record.n_feedback)}</dd><dt>as feedback</dt></div>
          {record.mean_rating !== null && served.info.can_predict && <div><dd>{record.mean_rating.toFixed(2)}</dd><dt>mean rating</dt></div>}
          {record.bias !== null && served.info.can_predict && <div><dd>{signed(record.bias)}</dd><dt><Term name="bias" />: how much milder than others</dt></div>}
          <div><dd class="words">{BASIS[record.basis]}</dd><dt>how it is recommended</dt></div>
        </dl>
      )}
      <div class="pair">
        <Part head="Recommended">
          <Failed problem={list.problem} />
          <ol class="plain-list">
            {list.value?.items.map((one, at) => (
              <li key={one.item}>
                <span class="place">{at + 1}</span>
                <button type="button" class="title" onClick={() => setOpen(one.item)}><bdi>{one.title}</bdi></button>
                {one.prediction !== null ? <span class="predicted"><StarRow stars={1} share={1} />{one.prediction.toFixed(1)}</span>
                  : <span class="number">{one.score.toPrecision(2)}</span>}
              </li>
            ))}
          </ol>
        </Part>
        {record && record.ratings.length > 0 && (
          <Part head="History">
            <ol class="plain-list" start={offset + 1}>
              {record.ratings.map((one) => (
                <li key={one.item}>
                  <button type="button" class="title" onClick={() => setOpen(one.item)}><bdi>{one.title}</bdi></button>
                  {one.time !== null && <time class="faint" dateTime={new Date(1000 * one.time).toISOString()}>{when(one.time)}</time>}
                  {one.source === "feedback" && <span class="badge">feedback</span>}
                  {scale.kind === "stars" && <><StarRow stars={scale.stars} share={one.rating / scale.top} /><span class="number">{short(one.rating)}</span></>}
                </li>
              ))}
            </ol>
            {record.n_ratings > PAGE && (
              <p class="pager">
                <button type="button" disabled={!offset} onClick={() => setOffset(Math.max(0, offset - PAGE))}>← before</button>
                <span class="number">{offset + 1}–{Math.min(record.n_ratings, offset + PAGE)} of {count(record.n_ratings)}</span>
                <button type="button" disabled={offset + PAGE >= record.n_ratings} onClick={() => setOffset(offset + PAGE)}>next →</button>
              </p>
            )}
          </Part>
        )}
      </div>
      {open !== null && (session.user === user
        ? <ItemDrawer item={open} served={served} onItem={setOpen} onClose={() => setOpen(null)} />
        : <WhyOther user={user} item={open} onClose={() => setOpen(null)} served={served} />)}
    </>
  );
}

/** Reasons of another user, to look at and not to rate. */
function WhyOther({ user, item, served, onClose }: { user: string; item: string; served: Served; onClose: () => void }) {
  const { value } = useAnswer(() => api.item(item), item);
  return (
    <Drawer label={value?.title ?? "Item"} onClose={onClose}>
      <h2><bdi>{value?.title ?? item}</bdi></h2>
      <p class="faint">{value?.categories.join(", ")}</p>
      <h3>Why, for user <bdi>{user}</bdi></h3>
      <WhyOf user={user} ratings={null} item={item} scale={served.scale} stamp="" />
      <p><a href={`#/map?item=${encodeURIComponent(item)}`} onClick={onClose}>Show it on the map</a></p>
    </Drawer>
  );
}
