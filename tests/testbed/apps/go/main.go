// The testbed's Go application: `app serve ADDRESS [CERTIFICATE KEY]` on net/http's server, `app client BASE` on its
// client, `app many BASE CONNECTIONS ROUNDS` on as many connections at once: asks for BASE&n=N, prints "N BODY" lines.
// The server prints one JSON line per request; the client reads "METHOD TARGET BODY_BYTES" lines and prints
// "STATUS BODY_BYTES" lines. http2.go has more roles.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type counting struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counting) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = 200
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

func (c *counting) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

func fill(w io.Writer, n int, step int) {
	block := bytes.Repeat([]byte("x"), step)
	for n > 0 {
		if n < step {
			block = block[:n]
		}
		if _, err := w.Write(block); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok && step < 65536 {
			f.Flush()
		}
		n -= len(block)
	}
}

func handle(w *counting, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2)
	arg := ""
	if len(parts) == 2 {
		arg = parts[1]
	}
	n, _ := strconv.Atoi(arg)
	text := func(s string) {
		w.Header().Set("Content-Length", strconv.Itoa(len(s)))
		if r.Method == "HEAD" {
			w.WriteHeader(200)
		} else {
			io.WriteString(w, s)
		}
	}
	switch parts[0] {
	case "hello":
		text("hello\n")
	case "items":
		text("item " + arg + "\n")
	case "status":
		w.WriteHeader(n)
	case "peer":
		_, port, _ := net.SplitHostPort(r.RemoteAddr)
		text(port)
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
		text("slept\n")
	case "bytes":
		w.Header().Set("Content-Length", arg)
		if r.Method == "HEAD" {
			w.WriteHeader(200)
		} else {
			fill(w, n, 65536)
		}
	case "chunked":
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		if r.Method != "HEAD" {
			fill(w, n, 1000)
		}
		w.Header().Set("X-Sum", arg)
	case "sse":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; i < 5; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.Flush()
			time.Sleep(20 * time.Millisecond)
		}
	case "echo":
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	default:
		w.WriteHeader(404)
	}
}

func serve(server *http.Server, address string, pem []string) error {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	log := json.NewEncoder(os.Stdout)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		c := &counting{ResponseWriter: w}
		handle(c, r)
		if c.status == 0 {
			c.status = 200
		}
		mu.Lock()
		defer mu.Unlock()
		log.Encode(map[string]any{"method": r.Method, "target": r.RequestURI, "status": c.status,
			"body_bytes": c.bytes, "duration_s": time.Since(begin).Seconds(), "version": r.Proto})
	})
	if len(pem) == 2 {
		return server.ServeTLS(listener, pem[0], pem[1])
	}
	return server.Serve(listener)
}

func http1Server() *http.Server {
	return &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
}

func http1() *http.Transport {
	none := map[string]func(string, *tls.Conn) http.RoundTripper{}
	return &http.Transport{DisableCompression: true, TLSNextProto: none, MaxIdleConnsPerHost: 1000}
}

func many(base string, connections, rounds int) error {
	client := &http.Client{Transport: http1()}
	for round := 0; round < rounds; round++ {
		failed := make(chan error, connections)
		for i := 0; i < connections; i++ {
			go func(n int) {
				response, err := client.Get(fmt.Sprintf("%s&n=%d", base, n))
				if err == nil {
					var body []byte
					body, err = io.ReadAll(response.Body)
					response.Body.Close()
					fmt.Printf("%d %s\n", n, body)
				}
				failed <- err
			}(round*connections + i)
		}
		for i := 0; i < connections; i++ {
			if err := <-failed; err != nil {
				return err
			}
		}
	}
	return nil
}

func client(transport *http.Transport, base string, atOnce int) error {
	if strings.HasPrefix(base, "/") {
		path := base
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		base = "http://localhost"
	}
	c := &http.Client{Transport: transport}
	ask := func(line string) (string, error) {
		f := strings.Fields(line)
		n, _ := strconv.Atoi(f[2])
		var body io.Reader
		if n > 0 {
			body = bytes.NewReader(bytes.Repeat([]byte("x"), n))
		}
		request, err := http.NewRequest(f[0], base+f[1], body)
		if err != nil {
			return "", err
		}
		response, err := c.Do(request)
		if err != nil {
			return "", err
		}
		got, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return fmt.Sprint(response.StatusCode, " ", got), err
	}
	type answer struct {
		text string
		err  error
	}
	var answers []chan answer
	free := make(chan struct{}, atOnce)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		line, done := lines.Text(), make(chan answer, 1)
		answers = append(answers, done)
		free <- struct{}{}
		go func() {
			text, err := ask(line)
			<-free
			done <- answer{text, err}
		}()
	}
	for _, done := range answers {
		got := <-done
		if got.err != nil {
			return got.err
		}
		fmt.Println(got.text)
	}
	return nil
}

// The roles that newer Go has more of.
var roles = map[string]func(args []string) error{
	"serve":  func(args []string) error { return serve(http1Server(), args[0], args[1:]) },
	"client": func(args []string) error { return client(http1(), args[0], 1) },
	"many": func(args []string) error {
		connections, _ := strconv.Atoi(args[1])
		rounds, _ := strconv.Atoi(args[2])
		return many(args[0], connections, rounds)
	},
}

func main() {
	if err := roles[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
