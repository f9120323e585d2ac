// The testbed's Go application for Redis, on go-redis: `app HOST PORT`. A bit of everything, in database 3, from many
// goroutines; values are all "secret".
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/redis/go-redis/v9"
)

func must(err error) {
	if err != nil && err != redis.Nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Args[1] + ":" + os.Args[2], DB: 3, PoolSize: 8})
	must(client.FlushDB(ctx).Err())
	var all sync.WaitGroup
	for worker := 0; worker < 8; worker++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < 100; n++ {
				key := fmt.Sprintf("T:%d:%d", worker, n)
				must(client.Set(ctx, key, "secret", 0).Err())
				must(client.Get(ctx, key).Err())
				_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
					pipe.Incr(ctx, key+":count")
					pipe.HSet(ctx, key+":hash", "field", "secret")
					pipe.Get(ctx, "T:nothing")
					return nil
				})
				must(err)
			}
		}()
	}
	all.Wait()
	_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "T:a")
		pipe.Incr(ctx, "T:a")
		return nil
	})
	must(err)
	must(client.Close())
}
