// pgx, in its own ways: `app DSN`.
package main

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func query(conn *pgx.Conn, text string, args ...any) error {
	rows, err := conn.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

func batch(conn *pgx.Conn, texts ...string) error {
	queued := &pgx.Batch{}
	for _, text := range texts {
		queued.Queue(text, 3)
	}
	return conn.SendBatch(ctx, queued).Close()
}

func main() {
	conn, err := pgx.Connect(ctx, os.Args[1])
	must(err)
	must(query(conn, "CREATE TEMP TABLE item (id int PRIMARY KEY, name text)"))
	var rows [][]any
	for number := 0; number < 20000; number++ {
		rows = append(rows, []any{number, "secret"})
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"item"}, []string{"id", "name"}, pgx.CopyFromRows(rows))
	must(err)
	for number := 0; number < 5; number++ {
		must(query(conn, "SELECT name FROM item WHERE id = $1", number))
	}
	must(query(conn, "SELECT id, name FROM item WHERE id > $1", 1000))
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		must(query(conn, "SELECT max(name) FROM item WHERE id = $1", mode, 7))
	}
	tx, err := conn.Begin(ctx)
	must(err)
	must(query(conn, "UPDATE item SET name = $1", "secret"))
	must(tx.Rollback(ctx))
	must(batch(conn, "SELECT name FROM item WHERE id = $1", "SELECT min(name) FROM item WHERE id < $1", "DELETE FROM item WHERE id = $1"))
	for _, wrong := range []string{"SELEC $1", "SELECT id FROM nowhere WHERE id = $1", "SELECT id / ($1 - 3) FROM item"} {
		if query(conn, wrong, 3) == nil {
			log.Fatal("nothing wrong")
		}
	}
	if batch(conn, "SELECT id FROM item WHERE id = $1", "SELECT id / ($1 - 3) FROM item", "SELECT sum(id) FROM item WHERE id = $1") == nil {
		log.Fatal("nothing wrong in a batch")
	}
	_, err = conn.Prepare(ctx, "named", "SELECT avg(id) FROM item WHERE id > $1")
	must(err)
	must(query(conn, "named", 1))
	must(query(conn, "named", 2))
	must(conn.Deallocate(ctx, "named"))
	must(conn.Close(ctx))
}
