// A client of MySQL through go-sql-driver/mysql: it asks what it is told to, line by line.
//
//	app HOST:PORT DATABASE OPTIONS     options as in a DSN: interpolateParams=true&compress=true&tls=skip-verify
//
// A line is what to do and how often: query N, exec N (text with a literal), prepared N (with a parameter, prepared
// each time), reused N (prepared once), fail N, ping N, transaction N, rows N (a result of N rows), long N (a statement
// of N bytes), sleep N (seconds), use NAME. Each is answered by a line: "ok" or what went wrong.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"

	_ "github.com/go-sql-driver/mysql"
)

var ctx = context.Background()

func number(db *sql.Conn, query string, args ...any) error {
	var n int
	return db.QueryRowContext(ctx, query, args...).Scan(&n)
}

func reused(db *sql.Conn, times int) error {
	statement, err := db.PrepareContext(ctx, "SELECT a FROM numbers WHERE a = ?")
	if err != nil {
		return err
	}
	defer statement.Close()
	for i := 0; i < times; i++ {
		var n int
		if err := statement.QueryRowContext(ctx, i%100).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

func transaction(db *sql.Conn) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE numbers SET b = 'x' WHERE a = 1"); err != nil {
		return err
	}
	return tx.Commit()
}

func rows(db *sql.Conn, count int) error {
	result, err := db.QueryContext(ctx, "SELECT seq, REPEAT('y', 100) FROM seq_1_to_"+strconv.Itoa(count))
	if err != nil {
		return err
	}
	defer result.Close()
	for result.Next() {
		count--
	}
	if count != 0 {
		return fmt.Errorf("%d rows too few", count)
	}
	return result.Err()
}

func once(db *sql.Conn, what string, count int) error {
	switch what {
	case "query":
		return number(db, "SELECT a FROM numbers WHERE a = 7")
	case "exec":
		_, err := db.ExecContext(ctx, "UPDATE numbers SET b = 'secret' WHERE a = 7")
		return err
	case "prepared":
		return number(db, "SELECT a FROM numbers WHERE a = ?", 8)
	case "fail":
		if _, err := db.ExecContext(ctx, "SELECT * FROM nosuch"); err == nil {
			return fmt.Errorf("it did not fail")
		}
		return nil
	case "ping":
		return db.PingContext(ctx)
	case "transaction":
		return transaction(db)
	}
	return fmt.Errorf("what is %s?", what)
}

func do(db *sql.Conn, what, how string) error {
	count, _ := strconv.Atoi(how)
	switch what {
	case "use":
		_, err := db.ExecContext(ctx, "USE "+how)
		return err
	case "reused":
		return reused(db, count)
	case "rows":
		return rows(db, count)
	case "sleep":
		return number(db, "SELECT SLEEP("+how+")")
	case "long":
		return number(db, "SELECT LENGTH('"+strings.Repeat("z", count)+"')")
	}
	for i := 0; i < count; i++ {
		if err := once(db, what, count); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	pool, err := sql.Open("mysql", "app:secret@tcp("+os.Args[1]+")/"+os.Args[2]+"?"+os.Args[3])
	if err != nil {
		panic(err)
	}
	db, err := pool.Conn(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("ok")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		what, how, _ := strings.Cut(lines.Text(), " ")
		if err := do(db, what, how); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	db.Close()
	pool.Close()
}
