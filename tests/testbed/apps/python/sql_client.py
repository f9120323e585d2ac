"""A client of MySQL through a Python driver: it asks what it is told to, line by line, as ../go-mysql/main.go tells.

sql_client.py DRIVER PORT DATABASE "tls"|"clear" OPTIONS, of which "compress" is one. Besides: several N (three
statements in one text), call N (a procedure), load N (N rows from a file of the client's).
"""

import importlib
import ssl
import sys
import tempfile
from typing import Any


def connect(driver: Any, port: str, database: str, secure: str, options: str) -> Any:
    """A connection with every capability that this client uses."""
    name = driver.__name__
    how: dict[str, Any] = {"local_infile": True, "autocommit": True}
    if name == "pymysql":
        how["client_flag"] = driver.constants.CLIENT.MULTI_STATEMENTS
        if secure == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            how["ssl"] = context
        else:
            how["ssl_disabled"] = True
    elif secure == "tls":
        how["ssl_mode"] = "REQUIRED"
    if options == "compress":
        how["compress"] = True
    return driver.connect(host="127.0.0.1", port=int(port), user="app", password="secret", database=database, **how)


def once(driver: Any, db: Any, what: str) -> None:
    cursor = db.cursor()
    if what == "query":
        cursor.execute("SELECT a FROM numbers WHERE a = 7")
        assert cursor.fetchall() == ((7,),)
    elif what == "exec":
        cursor.execute("UPDATE numbers SET b = %s WHERE a = %s", ("secret", 7))
    elif what == "fail":
        try:
            cursor.execute("SELECT * FROM nosuch")
        except driver.Error:
            return
        raise AssertionError("it did not fail")
    elif what == "ping":
        db.ping()
    elif what == "transaction":
        db.begin() if hasattr(db, "begin") else cursor.execute("BEGIN")
        cursor.execute("UPDATE numbers SET b = 'x' WHERE a = 1")
        db.commit()
    elif what == "several":
        cursor.execute("SET @a = 1; SELECT @a; SELECT 2, 3 FROM numbers LIMIT 5")
        while cursor.nextset():
            cursor.fetchall()
    elif what == "call":
        cursor.callproc("two")
        cursor.fetchall()
        while cursor.nextset():
            cursor.fetchall()
    else:
        raise AssertionError(f"what is {what}?")
    cursor.close()


def do(driver: Any, db: Any, what: str, how: str) -> None:
    cursor = db.cursor()
    if what == "use":
        db.select_db(how)
    elif what == "rows":
        count = int(how)
        cursor.execute(f"SELECT seq, REPEAT('y', 100) FROM seq_1_to_{count}")
        assert len(cursor.fetchall()) == count
    elif what == "long":
        cursor.execute(f"SELECT LENGTH('{'z' * int(how)}')")
        assert cursor.fetchall() == ((int(how),),)
    elif what == "load":
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(f"{n}\n" for n in range(int(how)))
            file.flush()
            cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE batches")
    else:
        for _ in range(int(how)):
            once(driver, db, what)


def main() -> None:
    driver = importlib.import_module(sys.argv[1])
    db = connect(driver, *sys.argv[2:])
    print("ok", flush=True)
    for line in sys.stdin:
        what, _, how = line.rstrip("\n").partition(" ")
        try:
            do(driver, db, what, how)
        except Exception as wrong:  # whatever it is, the test shows it
            print(f"{type(wrong).__name__}: {wrong}".replace("\n", " "), flush=True)
        else:
            print("ok", flush=True)
    db.close()


if __name__ == "__main__":
    main()
