// One item in a drawer: what is known of it, why it is recommended, what is like it.

import { api } from "./api";
import { Drawer, Failed, Stars, Term, useAnswer } from "./parts";
import { rate, useSession, type Served } from "./state";
import { count, short, signed } from "./words";
import { Why } from "./why";

export function ItemDrawer({ item, served, onClose, onItem }: {
  item: string; served: Served; onClose: () => void; onItem: (item: string) => void;
}) {
  const session = useSession();
  const { value: record, problem } = useAnswer(() => api.item(item), item);
  const mine = session.ratings.find((one) => one.item === item)?.rating ?? null;
  return (
    <Drawer label={record?.title ?? "Item"} onClose={onClose}>
      <Failed problem={problem} />
      {record && record.item === item && <>
        <h2><bdi>{record.title}</bdi></h2>
        <p class="faint">{record.new && <span class="badge fresh">new item</span>} {record.categories.join(", ")}</p>
        <p class="give">
          <span>{mine === null ? "Your rating" : served.scale.kind === "like" ? "You like it" : `Your rating: ${short(mine)}`}</span>
          <Stars scale={served.scale} value={mine} title={record.title} onRate={(rating) => void rate(item, record.title, rating)} loud />
          {mine !== null && served.scale.kind === "stars" && <button type="button" class="plain" onClick={() => void rate(item, record.title, null)}>Take back</button>}
        </p>
        <dl class="tiles small">
          <div><dt>ratings</dt><dd>{count(record.n_ratings)}</dd></div>
          {record.mean_rating !== null && served.scale.kind === "stars" && <div><dt>mean rating</dt><dd>{record.mean_rating.toFixed(2)}</dd></div>}
          {record.bias !== null && served.info.can_predict && <div><dt><Term name="bias" /></dt><dd>{signed(record.bias)}</dd></div>}
        </dl>
        <h3>Why, for you</h3>
        <Why item={item} scale={served.scale} />
        {served.info.can_similar && <Alike item={item} onItem={onItem} served={served} />}
        <p><a href={`#/map?item=${encodeURIComponent(item)}`} onClick={onClose}>Show it on the map</a></p>
      </>}
    </Drawer>
  );
}

function Alike({ item, onItem, served }: { item: string; onItem: (item: string) => void; served: Served }) {
  const session = useSession();
  const { value, problem } = useAnswer(() => api.similar(item, 8), item);
  return (
    <>
      <h3>Similar items, by <Term name="similarity" /></h3>
      <Failed problem={problem} />
      <ol class="alike">
        {value?.items.map((one) => (
          <li key={one.item}>
            <button type="button" class="title" onClick={() => onItem(one.item)}><bdi>{one.title}</bdi></button>
            <Stars scale={served.scale} value={session.ratings.find((mine) => mine.item === one.item)?.rating ?? null}
              title={one.title} onRate={(rating) => void rate(one.item, one.title, rating)} />
            <span class="number" title="similarity">{one.similarity.toFixed(2)}</span>
          </li>
        ))}
      </ol>
    </>
  );
}
