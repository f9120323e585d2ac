"""`client_psycopg.py DSN`: all that psycopg does in its own way, on one connection."""

import contextlib
import sys

import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    conn.execute("CREATE TEMP TABLE item (id int PRIMARY KEY, name text)")
    for number in range(5):
        conn.execute("INSERT INTO item VALUES (%s, %s)", (number, "secret"))
    for _ in range(8):  # from the sixth on it is prepared
        conn.execute("SELECT name FROM item WHERE id = %s", (3,)).fetchall()
    conn.execute("SELECT count(*) FROM item; SELECT name FROM item").fetchall()
    conn.execute("")
    conn.execute("SELECT id, repeat(name, 100) FROM item, generate_series(1, %s)", (1000,)).fetchall()
    for wrong in ("SELEC 1", "SELECT id FROM nowhere", "SELECT id / 0 FROM item"):
        with contextlib.suppress(psycopg.Error):
            conn.execute(wrong)
    with contextlib.suppress(psycopg.Error):
        conn.execute("INSERT INTO item VALUES (%s, NULL)", (1,))
    with conn.pipeline():
        for number in range(100):
            conn.execute("UPDATE item SET name = %s WHERE id = %s", ("secret", number))
        conn.execute("SELECT max(id) FROM item")
    with contextlib.suppress(psycopg.Error), conn.pipeline():
        conn.execute("SELECT min(id) FROM item")
        conn.execute("SELECT sum(id) / 0 FROM item")
        conn.execute("SELECT 'passed over'")
    with conn.transaction():
        with conn.cursor("walk") as cursor:
            cursor.itersize = 2
            cursor.execute("SELECT id FROM item")
            list(cursor)
        with conn.transaction():
            conn.execute("SELECT avg(id) FROM item")
    with conn.cursor() as cursor:
        with cursor.copy("COPY item FROM STDIN") as copy:
            for number in range(1000, 21_000):
                copy.write_row((number, "secret" * 5))
        with cursor.copy("COPY item TO STDOUT") as copy:
            list(copy)
        with contextlib.suppress(psycopg.Error), cursor.copy("COPY item (id) FROM STDIN") as copy:
            copy.write("nonsense\n")
    conn.execute("LISTEN news")
    conn.execute("NOTIFY news")
    list(conn.notifies(timeout=1, stop_after=1))
    conn.execute("SET TIME ZONE UTC")
    conn.execute("DO $$BEGIN RAISE NOTICE 'psst'; END$$")
    cursor = conn.cursor()
    cursor.executemany("DELETE FROM item WHERE id = %s", [(number,) for number in range(50)])
