// The testbed's Go application: `app serve ADDRESS` on net/http's server, `app client BASE` on its client.
// The server prints one JSON line per request; the client reads "METHOD TARGET BODY_BYTES" lines and prints
// "STATUS BODY_BYTES" lines.
package main

import (
	"bufio"
	"bytes"
	"context"
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

func serve(address string) error {
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
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		c := &counting{ResponseWriter: w}
		handle(c, r)
		if c.status == 0 {
			c.status = 200
		}
		mu.Lock()
		defer mu.Unlock()
		log.Encode(map[string]any{"method": r.Method, "target": r.RequestURI, "status": c.status,
			"body_bytes": c.bytes, "duration_s": time.Since(begin).Seconds()})
	}))
}

func client(base string) error {
	transport := &http.Transport{DisableCompression: true}
	if strings.HasPrefix(base, "/") {
		path := base
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		base = "http://localhost"
	}
	c := &http.Client{Transport: transport}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		n, _ := strconv.Atoi(f[2])
		var body io.Reader
		if n > 0 {
			body = bytes.NewReader(bytes.Repeat([]byte("x"), n))
		}
		request, err := http.NewRequest(f[0], base+f[1], body)
		if err != nil {
			return err
		}
		response, err := c.Do(request)
		if err != nil {
			return err
		}
		got, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Println(response.StatusCode, got)
	}
	return nil
}

func main() {
	var err error
	if os.Args[1] == "serve" {
		err = serve(os.Args[2])
	} else {
		err = client(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
