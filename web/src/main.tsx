import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, setToken, whenRefused, type ApiError } from "./api";
import { ServedMap } from "./map";
import { ModelView } from "./model";
import { Failed, Waiting } from "./parts";
import { RecommendView } from "./recommend";
import { useRoute } from "./route";
import { readUser, scaleOf, useSession, type Served } from "./state";
import { UserView } from "./user";
import { count } from "./words";

const VIEWS = [["", "Recommend"], ["user", "Users"], ["map", "Map"], ["model", "Model"]] as const;

function Page() {
  const route = useRoute(), session = useSession();
  const [served, setServed] = useState<Served | null>(null);
  const [problem, setProblem] = useState<Error | null>(null);
  const [locked, setLocked] = useState<ApiError | null>(null);

  const open = async () => {
    try {
      const [info, report] = await Promise.all([api.model(), api.report()]);
      setServed({ info, report, scale: scaleOf(info, report) });
      setProblem(null);
      setLocked(null);
      if (session.user !== null) await readUser(session.user);
    } catch (error) {
      if ((error as ApiError).status !== 401) setProblem(error as Error);
    }
  };
  useEffect(() => { whenRefused(setLocked); void open(); }, []);
  useEffect(() => {
    const name = VIEWS.find(([view]) => view === route.view)?.[1] ?? "No such page";
    document.title = `${name} · bilinear`;
  }, [route.view]);

  return (
    <>
      <a class="skip" href="#content" onClick={(event) => { event.preventDefault(); document.getElementById("content")?.focus(); }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href="#/"><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M7 24 24 7" /><circle cx="11" cy="12" r="3.4" /><circle cx="21" cy="21" r="3.4" /></svg>bilinear</a>
        <nav aria-label="Views">
          {VIEWS.map(([view, name]) => <a key={view} href={`#/${view}`} aria-current={route.view === view ? "page" : undefined}>{name}</a>)}
        </nav>
        <p class="faint served roomy">{served && <>{served.info.estimator} · {count(served.info.n_items)} items · <a href="docs">API</a></>}</p>
      </header>
      <main id="content" tabIndex={-1} class={`view-${route.view || "recommend"}`}>
        {locked && <TokenForm onGiven={(token) => { setToken(token); void open(); }} />}
        {problem && <div class="narrow"><Failed problem={problem} /><p><button type="button" onClick={() => void open()}>Try again</button></p></div>}
        {!served && !problem && !locked && <div class="narrow"><Waiting what="the model" /></div>}
        {served && !locked && (
          route.view === "user" ? <UserView served={served} user={route.query.get("id")} />
          : route.view === "map" ? <ServedMap served={served} item={route.query.get("item")} />
          : route.view === "model" ? <ModelView served={served} onChange={open} />
          : route.view === "" ? <RecommendView served={served} />
          : <NoSuchPage view={route.view} />
        )}
      </main>
    </>
  );
}

function NoSuchPage({ view }: { view: string }) {
  return (
    <div class="narrow">
      <h1>No such page</h1>
      <p class="hint">There is no page “<bdi>{view}</bdi>” here. The pages are {VIEWS.map(([at, name], n) => <>{n > 0 && ", "}<a href={`#/${at}`}>{name}</a></>)}.</p>
    </div>
  );
}

function TokenForm({ onGiven }: { onGiven: (token: string) => void }) {
  const [token, set] = useState("");
  return (
    <form class="narrow token" onSubmit={(event) => { event.preventDefault(); onGiven(token); }}>
      <h1>A token is asked for</h1>
      <p class="faint">This server was started with --token-file. The token stays in this tab.</p>
      <label>Token <input type="password" autocomplete="off" value={token} onInput={(event) => set(event.currentTarget.value)} /></label>
      <button type="submit" class="main">Open</button>
    </form>
  );
}

render(<Page />, document.getElementById("page")!);
