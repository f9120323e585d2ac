// Clients of brokers: amqp091-go and nats.go. Each writes what it did as one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Several channels publish at once on one connection, each with many messages that wait for their confirms; then one
// consumer takes them all and acknowledges every tenth with all before it.
func rabbitmq(url, queue string, messages int) map[string]int {
	const channels = 4
	conn := must(amqp.Dial(url))
	defer conn.Close()
	must(must(conn.Channel()).QueueDeclare(queue, false, false, false, false, nil))
	var publishers sync.WaitGroup
	for n := range channels {
		publishers.Add(1)
		go func() {
			defer publishers.Done()
			channel := must(conn.Channel())
			check(channel.Confirm(false))
			var confirms []*amqp.DeferredConfirmation
			for range messages / channels {
				message := amqp.Publishing{Body: make([]byte, 100*n)}
				confirms = append(confirms, must(channel.PublishWithDeferredConfirm("", queue, false, false, message)))
			}
			for _, confirm := range confirms {
				if !confirm.Wait() {
					panic("refused")
				}
			}
		}()
	}
	publishers.Wait()
	channel := must(conn.Channel())
	check(channel.Qos(50, 0, false))
	deliveries := must(channel.Consume(queue, "", false, false, false, false, nil))
	for n := 1; n <= messages; n++ {
		delivery := <-deliveries
		if n%10 == 0 || n == messages {
			check(delivery.Ack(true))
		}
	}
	return map[string]int{"published": messages, "consumed": messages}
}

// Requests from many goroutines at once, answered by a queue group on a connection of its own; and a stream whose
// messages are pulled.
func natsio(url, subject string, messages int) map[string]int {
	service := must(nats.Connect(url, nats.Name("service")))
	must(service.QueueSubscribe(subject+".sum", "workers", func(m *nats.Msg) { check(m.Respond(m.Data)) }))
	check(service.Flush())
	client := must(nats.Connect(url, nats.Name("client")))
	var callers sync.WaitGroup
	for range 10 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for n := range messages / 10 {
				must(client.Request(subject+".sum", []byte(strconv.Itoa(n)), 10*time.Second))
			}
		}()
	}
	callers.Wait()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	js := must(jetstream.New(client))
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: subject, Subjects: []string{subject + ".stream"}}))
	for range messages {
		must(js.PublishAsync(subject+".stream", []byte("message")))
	}
	<-js.PublishAsyncComplete()
	consumer := must(js.CreateConsumer(ctx, subject, jetstream.ConsumerConfig{Durable: "worker"}))
	var handled sync.WaitGroup
	handled.Add(messages)
	consuming := must(consumer.Consume(func(m jetstream.Msg) {
		check(m.Ack())
		handled.Done()
	}))
	handled.Wait()
	consuming.Stop()
	check(client.Drain())
	check(service.Drain())
	for !client.IsClosed() || !service.IsClosed() {
		time.Sleep(time.Millisecond)
	}
	return map[string]int{"requests": messages, "streamed": messages}
}

func main() {
	clients := map[string]func(string, string, int) map[string]int{"amqp": rabbitmq, "nats": natsio}
	done := clients[os.Args[1]](os.Args[2], os.Args[3], must(strconv.Atoi(os.Args[4])))
	fmt.Println(string(must(json.Marshal(done))))
}
