"""The feedback store: one suite over SQLite and PostgreSQL, each on a real one."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import PostgresServer

from bilinear.errors import ParameterValueError
from bilinear.serving.problems import StoreUnavailable
from bilinear.serving.store import Counts, Feedback, FeedbackStore, settled, open_store


def all_of(store: FeedbackStore) -> list[Feedback]:
    return [row for batch in store.everything() for row in batch]


def test_what_was_written_is_there_and_survives_reopening(store: FeedbackStore, store_url: str) -> None:
    rows = [
        Feedback("u", "a/b", 4.5, 10.25),
        Feedback("u", "ü 漢字 🎬", 0.1 + 0.2, 11.0),
        Feedback("v", "a/b", 1.0, 3.0),
    ]
    assert store.write(rows) == [row.time for row in rows]
    other = open_store(store_url)
    assert all_of(other) == rows
    assert other.of_user("u") == [("a/b", 4.5, 10.25), ("ü 漢字 🎬", 0.1 + 0.2, 11.0)]
    assert other.get("v", "a/b") == rows[2]
    assert other.get("v", "b") is None
    assert other.counts() == Counts(3, 2, 0)
    other.close()


def test_a_repeated_write_has_the_effect_of_one(store: FeedbackStore) -> None:
    row = Feedback("u", "i", 3.0, 5.0)
    for _ in range(3):
        assert store.write([row]) == [5.0]
    assert all_of(store) == [row]


def test_the_later_time_wins_whoever_writes_last(store: FeedbackStore) -> None:
    late, early = Feedback("u", "i", 5.0, 20.0), Feedback("u", "i", 1.0, 10.0)
    assert store.write([late]) == [20.0]
    assert store.write([early]) == [None]
    assert store.get("u", "i") == late
    assert store.write([late._replace(rating=2.0)]) == [20.0]  # the same time: the write that came last
    assert store.get("u", "i") == late._replace(rating=2.0)


def test_a_deletion_stays_against_a_late_retry(store: FeedbackStore) -> None:
    store.write([Feedback("u", "i", 4.0, 1.0)])
    store.write([Feedback("u", "i", None, 2.0)])
    assert store.write([Feedback("u", "i", 4.0, 1.0)]) == [None]
    assert store.of_user("u") == [("i", None, 2.0)]
    assert store.counts() == Counts(0, 0, 1)
    assert store.write([Feedback("u", "i", 3.0, 3.0)]) == [3.0]
    assert store.counts() == Counts(1, 1, 0)


def test_of_a_pair_in_one_write_the_latest_counts(store: FeedbackStore) -> None:
    rows = [Feedback("u", "i", 1.0, 5.0), Feedback("u", "i", 2.0, 7.0), Feedback("u", "i", 3.0, 6.0)]
    assert store.write(rows) == [None, 7.0, None]
    assert all_of(store) == [rows[1]]
    again = rows[1]._replace(rating=9.0)
    assert settled([rows[1], again], {}) == {1: again}


def test_a_write_is_all_or_nothing(store: FeedbackStore) -> None:
    store.write([Feedback("u", "old", 1.0, 1.0)])
    rows = [Feedback("u", f"i{n}", 1.0, 1.0) for n in range(50)]
    rows.append(Feedback("u", "z", 1.0, None))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        store.write(rows)
    assert [row.item for row in all_of(store)] == ["old"]
    assert store.write([Feedback("u", "new", 1.0, 1.0)]) == [1.0]  # and it goes on


def test_concurrent_writers_leave_the_last_by_time(store: FeedbackStore) -> None:
    def work(start: int) -> None:
        for time in range(start, 40, 4):
            store.write(
                [Feedback("u", item, float(time), float(time)) for item in ("b", "a")[:: 1 - 2 * (start % 2)]]
            )

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all_of(store) == [Feedback("u", "a", 39.0, 39.0), Feedback("u", "b", 39.0, 39.0)]


def test_a_reading_of_everything_is_of_one_moment(store: FeedbackStore) -> None:
    rows = [Feedback(f"u{n:05d}", "i", 1.0, 1.0) for n in range(6000)]
    store.write(rows)
    batches = store.everything()
    first = next(batches)
    store.write([Feedback("u05999", "i", 2.0, 2.0), Feedback("v", "i", 2.0, 2.0)])
    assert [*first, *(row for batch in batches for row in batch)] == rows


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
writes = st.lists(
    st.builds(
        Feedback,
        st.sampled_from(["u", "v", "'; DROP TABLE feedback; --", "%s \\x", "é"]) | text,
        st.sampled_from(["a", "a/b", '"', "🎬"]) | text,
        st.none() | st.floats(-1e9, 1e9),
        st.floats(0, 1e11),
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(writes, max_size=5))
def test_any_writes_leave_what_a_dictionary_would(
    store: FeedbackStore, transactions: list[list[Feedback]]
) -> None:
    before = all_of(store)
    expected = {row[:2]: row for row in before}
    for rows in transactions:
        store.write(rows)
        for row in rows:
            if row[:2] not in expected or row.time >= expected[row[:2]].time:
                expected[row[:2]] = row
    assert all_of(store) == [expected[pair] for pair in sorted(expected)]


def test_sqlite_syncs_before_it_answers(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'f.db'}")
    connection = store._opened()  # type: ignore[attr-defined]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.close()


def test_sqlite_that_somebody_holds_says_so_and_goes_on_after(tmp_path: Path) -> None:
    from bilinear.serving.sqlite_store import SQLiteStore

    store = SQLiteStore(tmp_path / "f.db", wait=0.05)
    holder = sqlite3.connect(tmp_path / "f.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"locked.*another program.*nothing was acknowledged"):
        store.write([Feedback("u", "i", 1.0, 1.0)])
    assert store.of_user("u") == []  # readers do not wait
    holder.execute("ROLLBACK")
    holder.close()
    assert store.write([Feedback("u", "i", 1.0, 1.0)]) == [1.0]
    store.close()


def test_sqlite_on_a_full_disk_says_so_and_goes_on_after(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'f.db'}")
    connection = store._opened()  # type: ignore[attr-defined]
    store.write([Feedback("u", "old", 1.0, 1.0)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")  # SQLite's own way to play a full disk
    rows = [Feedback(f"user {n} {'x' * 200}", "i", 1.0, 1.0) for n in range(500)]
    with pytest.raises(StoreUnavailable, match=r"full.*make room"):
        store.write(rows)
    assert [row.item for row in all_of(store)] == ["old"]
    assert all(store.write(rows))  # a new connection, without the limit
    assert store.counts().ratings == 501
    store.close()


def test_sqlite_file_that_goes_away_is_not_written_into_the_void(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    store = open_store(f"sqlite:///{path}")
    store.write([Feedback("u", "i", 1.0, 1.0)])
    for file in tmp_path.glob("f.db*"):
        file.rename(tmp_path / f"moved-{file.name}")
    store.write([Feedback("u", "j", 2.0, 2.0)])
    assert path.is_file()
    assert [row.item for row in all_of(open_store(f"sqlite:///{path}"))] == ["j"]
    store.close()


def test_files_that_are_no_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("user,item,rating\n" * 99)
    with pytest.raises(StoreUnavailable, match="no SQLite file"):
        open_store(f"sqlite:///{tmp_path / 'text.db'}")
    other = sqlite3.connect(tmp_path / "shop.db")
    other.execute("CREATE TABLE orders (id)")
    other.close()
    with pytest.raises(StoreUnavailable, match="something else"):
        open_store(f"sqlite:///{tmp_path / 'shop.db'}")
    with pytest.raises(StoreUnavailable, match="no folder"):
        open_store(f"sqlite:///{tmp_path / 'none' / 'f.db'}")


@pytest.mark.parametrize(
    "address", ["", "feedback.db", "mysql://me:secret@host/db", "sqlite://f.db", "sqlite:///"]
)
def test_other_addresses_are_refused_without_their_password(address: str) -> None:
    with pytest.raises(ParameterValueError, match="sqlite:///FILE or postgresql://") as refused:
        open_store(address)
    assert "secret" not in str(refused.value)


def test_postgres_gone_and_back(postgres: PostgresServer) -> None:
    store = open_store(postgres.address)
    store.write([Feedback("gone", "i", 1.0, 1.0)])
    postgres.stop()
    try:
        with pytest.raises(
            StoreUnavailable, match=r"postgresql://tester@127.0.0.1.*nothing was acknowledged"
        ):
            store.write([Feedback("gone", "i", 2.0, 2.0)])
        with pytest.raises(StoreUnavailable):
            store.of_user("gone")
    finally:
        postgres.start()
    assert store.of_user("gone") == [("i", 1.0, 1.0)]
    postgres.stop()
    postgres.start()
    assert store.write([Feedback("gone", "i", 3.0, 3.0)]) == [3.0]  # a restart goes unnoticed
    store.close()


def test_postgres_commits_are_synced_whatever_the_server_says(postgres: PostgresServer) -> None:
    store = open_store(postgres.address)
    connection = store._local.connection  # type: ignore[attr-defined]
    connection.execute("SELECT 1")
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    store.close()


def test_postgres_password_is_not_shown() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(StoreUnavailable) as refused:
        open_store("postgresql://me:secret@127.0.0.1:1/none?sslmode=disable&password=hidden")
    assert "secret" not in str(refused.value)
    assert "hidden" not in str(refused.value)
