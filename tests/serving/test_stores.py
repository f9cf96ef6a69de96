"""The feedback store: one suite over SQLite and PostgreSQL, each on a real one."""

from __future__ import annotations

import sqlite3
import threading
import traceback
from contextlib import closing
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore
from postgres_server import PostgresServer

from bilinear.errors import ParameterValueError
from bilinear.serving.feedback.store import (
    STORES,
    Counts,
    Feedback,
    FeedbackStore,
    Stamped,
    open_store,
    settled,
)
from bilinear.serving.problems import StoreUnavailable


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
    assert other.counts() == Counts(3, 2, 0, 24.25, sum(row.rating or 0 for row in rows))
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
    assert store.counts() == Counts(0, 0, 1, 2.0)
    assert store.write([Feedback("u", "i", 3.0, 3.0)]) == [3.0]
    assert store.counts() == Counts(1, 1, 0, 3.0, 3.0)


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


def test_a_write_without_a_clients_time_is_never_before_what_is_stored(store: FeedbackStore) -> None:
    ahead = Feedback("u", "i", 1.0, 1e9 + 280)
    store.write([ahead])
    (moment,) = store.write([Stamped("u", "i", 2.0, 1e9)])
    assert moment is not None
    assert moment > ahead.time
    assert store.get("u", "i") == Feedback("u", "i", 2.0, moment)
    assert store.write([ahead]) == [None]  # a late retry
    assert store.write([Stamped("u", "new", 3.0, 1e9)]) == [1e9]
    rows = [Stamped("v", "i", 1.0, 9.0), Feedback("v", "i", 2.0, 20.0), Stamped("v", "i", 3.0, 10.0)]
    first, second, third = store.write(rows)
    assert (first, second) == (None, None)
    assert third is not None
    assert third > 20.0
    huge = Feedback("w", "i", 1.0, 1e11)
    store.write([huge])
    store.write([Stamped("w", "i", 2.0, 1.0)])
    assert store.write([huge]) == [None]


def test_a_part_of_a_user_is_the_first_of_it(store: FeedbackStore) -> None:
    store.write([Feedback("u", f"{n}", 1.0, 1.0) for n in range(9)])
    assert store.of_user("u", 3) == store.of_user("u")[:3]
    assert store.of_user("u", 99) == store.of_user("u")


def alter(url: str, sqlite: str, postgres: str) -> None:
    """One statement on the store, behind its back."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(sqlite)
            connection.commit()
    else:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(postgres)


def test_a_store_of_a_newer_bilinear_is_refused_by_name(durable_url: str) -> None:
    open_store(durable_url).close()
    alter(
        durable_url,
        "PRAGMA user_version = 7",
        "COMMENT ON TABLE bilinear_feedback IS 'bilinear feedback, schema 7'",
    )
    with pytest.raises(StoreUnavailable, match=r"schema version 7.*a newer one"):
        open_store(durable_url)
    alter(durable_url, "DROP TABLE feedback", "DROP TABLE bilinear_feedback")


def test_a_store_from_before_versions_is_taken_over(durable_url: str) -> None:
    store = open_store(durable_url)
    store.write([Feedback("u", "i", 1.0, 1.0)])
    store.close()
    alter(durable_url, "PRAGMA user_version = 0", "COMMENT ON TABLE bilinear_feedback IS NULL")
    store = open_store(durable_url)
    assert all_of(store) == [Feedback("u", "i", 1.0, 1.0)]
    store.close()
    alter(durable_url, "ALTER TABLE feedback ADD x", "ALTER TABLE bilinear_feedback ADD x int")
    with pytest.raises(StoreUnavailable, match="columns user_id, item_id, rating, time, x, expected"):
        open_store(durable_url)
    alter(durable_url, "DROP TABLE feedback", "DROP TABLE bilinear_feedback")


def test_a_log_that_was_deleted_takes_nothing_with_it(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    store = open_store(f"sqlite:///{path}")
    store.write([Feedback("u", "before", 1.0, 1.0)])
    reader = threading.Thread(target=store.of_user, args=("u",))  # a second connection to the old log
    reader.start()
    reader.join()
    (tmp_path / "f.db-wal").unlink()
    store.write([Feedback("u", "after", 2.0, 2.0)])
    for file in tmp_path.iterdir():  # as after a kill: what is in the files is all there is
        (tmp_path / f"copy-{file.name}").write_bytes(file.read_bytes())
    copy = open_store(f"sqlite:///{tmp_path / 'copy-f.db'}")
    assert [row.item for row in all_of(copy)] == ["after", "before"]
    assert [row.item for row in all_of(store)] == ["after", "before"]
    copy.close()
    store.close()


def test_a_log_that_was_replaced_is_told(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'f.db'}")
    store.write([Feedback("u", "i", 1.0, 1.0)])
    log = tmp_path / "f.db-wal"
    log.rename(tmp_path / "moved")
    log.write_bytes((tmp_path / "moved").read_bytes())
    with pytest.raises(StoreUnavailable, match="was replaced"):
        store.write([Feedback("u", "j", 1.0, 1.0)])
    store.write([Feedback("u", "j", 1.0, 1.0)])
    store.close()


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
    from bilinear.serving.feedback.sqlite_store import SQLiteStore

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
    with pytest.raises(
        ParameterValueError, match=r"give .*postgresql://USER@HOST/DATABASE or sqlite:///FILE"
    ) as refused:
        open_store(address)
    assert "secret" not in str(refused.value)


def test_an_unknown_scheme_is_answered_by_the_known_ones() -> None:
    with pytest.raises(
        ParameterValueError, match=r"--store redis://\.\.\.: give .*sqlite:///FILE"
    ) as refused:
        open_store("redis://me:secret@host")
    assert "memory://NAME" in str(refused.value)  # a class of one's own is among them
    assert "secret" not in str(refused.value)


def test_help_and_guide_name_the_stores_of_the_package() -> None:
    own = {cls.address_form for name in STORES if (cls := STORES.get(name)) is not MemoryStore}
    assert own == {"sqlite:///FILE", "postgresql://USER@HOST/DATABASE"}
    from bilinear.cli.serve import command

    help_ = get_type_hints(command, include_extras=True)["store"].__metadata__[0].help
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "service.md").read_text()
    for form in own:
        assert form in help_
        assert form.partition("://")[0] + "://" in guide


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


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:s3cret@127.0.0.1:1/none?sslmode=disable&application_name=x",
        "postgresql://me@127.0.0.1:1/none?password=s3cret",
        "postgresql://me:s%33cret@127.0.0.1:1/none",
        "host=127.0.0.1 port=1 user=me password=s3cret dbname=none",
        "host=127.0.0.1 port=1 user=me password='s3cret' dbname=none",
        "postgres://me:s3cret@127.0.0.1:1",
        "postgresql://me:x@s3cret@127.0.0.1:1/none",
        "postgresql://me:x/s3cret@127.0.0.1:1/none",
        "postgresql://me:x?s3cret@127.0.0.1:1/none",
        "postgresql://me:%s3cret@127.0.0.1:1/none",
        "postgresql://me:s3cret",
        "user=me password = s3cret hos",
        "pass word=s3cret",
        "me:s3cret@127.0.0.1/none",
        "s3cret",
    ],
)
def test_a_password_is_shown_in_no_error(address: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises((StoreUnavailable, ParameterValueError)) as refused:
        open_store(address)
    said = "".join(traceback.format_exception(refused.value, chain=True)).replace(address, "")
    assert "s3cret" not in str(refused.value)
    assert "s%33cret" not in str(refused.value)
    assert "s3cret" not in said.rpartition("Error: ")[2]


def test_words_are_an_address_too(postgres: PostgresServer) -> None:
    words = f"host=127.0.0.1 port={postgres.port} user=tester dbname=postgres password=s3cret"
    store = open_store(words)
    assert store.address == postgres.address
    store.close()
