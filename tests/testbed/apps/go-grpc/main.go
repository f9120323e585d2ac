// The testbed's Go application for gRPC: `app serve ADDRESS [CERTIFICATE KEY]`, `app client ADDRESS AT_ONCE [CERTIFICATE]`.
// What both do is said in ../../grpc.py.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

var names = strings.Fields(`OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
	PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE
	DATA_LOSS UNAUTHENTICATED`)

// Messages are bytes. By this name it takes protobuf's place, and the content type is that of everybody.
type raw struct{}

func (raw) Name() string                       { return "proto" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// One call on the server's side.
type serving struct {
	grpc.ServerStream
	ctx                 context.Context
	wants               map[string]int
	requests, responses int
}

func (c *serving) read(message []byte) {
	c.requests++
	if c.requests > 1 {
		return
	}
	c.wants = map[string]int{"count": 1}
	words := strings.Fields(string(message))
	for i := 0; i+1 < len(words); i += 2 {
		c.wants[words[i]], _ = strconv.Atoi(words[i+1])
	}
	select {
	case <-time.After(time.Duration(c.wants["sleep"]) * time.Millisecond):
	case <-c.ctx.Done():
	}
}

func (c *serving) answer() []byte { return bytes.Repeat([]byte("x"), c.wants["size"]) }

func (c *serving) status() error {
	if c.ctx.Err() != nil {
		return status.FromContextError(c.ctx.Err()).Err()
	}
	return status.Error(codes.Code(c.wants["status"]), "as asked")
}

func (c *serving) receive() ([]byte, error) {
	var message []byte
	err := c.RecvMsg(&message)
	if err == nil {
		c.read(message)
	}
	return message, err
}

func (c *serving) send(message []byte) error {
	err := c.SendMsg(&message)
	if err == nil {
		c.responses++
	}
	return err
}

func (c *serving) list() error {
	if _, err := c.receive(); err != nil {
		return err
	}
	for n := 0; n < c.wants["count"] && c.ctx.Err() == nil; n++ {
		if err := c.send(c.answer()); err != nil {
			return err
		}
	}
	return c.status()
}

func (c *serving) upload() error {
	for {
		if _, err := c.receive(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if err := c.status(); err != nil {
		return err
	}
	return c.send(c.answer())
}

func (c *serving) chat() error {
	for {
		message, err := c.receive()
		if err == io.EOF {
			return c.status()
		}
		if err == nil {
			err = c.send(message)
		}
		if err != nil {
			return err
		}
	}
}

var logging sync.Mutex

func logged(ctx context.Context, method string, call *serving, run func() error) error {
	begin := time.Now()
	call.ctx = ctx
	err := run()
	from, _ := peer.FromContext(ctx)
	tag := strings.Join(metadata.ValueFromIncomingContext(ctx, "x-tag"), "")
	logging.Lock()
	defer logging.Unlock()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"method": "shop.Orders/" + method, "status": names[status.Code(err)], "requests": call.requests,
		"responses": call.responses, "duration_s": time.Since(begin).Seconds(), "tag": tag,
		"port": from.Addr.(*net.TCPAddr).Port})
	return err
}

func streaming(name string, run func(*serving) error) grpc.StreamDesc {
	handler := func(_ any, stream grpc.ServerStream) error {
		call := &serving{ServerStream: stream}
		return logged(stream.Context(), name, call, func() error { return run(call) })
	}
	return grpc.StreamDesc{StreamName: name, Handler: handler, ServerStreams: name != "Upload", ClientStreams: name != "List"}
}

func get(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var message []byte
	if err := decode(&message); err != nil {
		return nil, err
	}
	call, answer := &serving{}, []byte{}
	err := logged(ctx, "Get", call, func() error {
		call.read(message)
		if err := call.status(); err != nil {
			return err
		}
		answer = call.answer()
		call.responses++
		return nil
	})
	return &answer, err
}

var orders = grpc.ServiceDesc{
	ServiceName: "shop.Orders",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Get", Handler: get}},
	Streams: []grpc.StreamDesc{
		streaming("List", (*serving).list),
		streaming("Upload", (*serving).upload),
		streaming("Chat", (*serving).chat),
	},
}

func serve(address string, pem []string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	var options []grpc.ServerOption
	if len(pem) == 2 {
		secure, err := credentials.NewServerTLSFromFile(pem[0], pem[1])
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(secure))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&orders, nil)
	return server.Serve(listener)
}

// One call to make.
type call struct {
	Method, Want, Tag, Traceparent         string
	Messages, Size, Deadline_ms, Cancel_ms int
}

func (c call) do(conn *grpc.ClientConn) (messages, received int, err error) {
	pairs := []string{"x-tag", c.Tag}
	if c.Traceparent != "" {
		pairs = append(pairs, "traceparent", c.Traceparent)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), pairs...))
	defer cancel()
	if c.Deadline_ms > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.Deadline_ms)*time.Millisecond)
		defer cancel()
	}
	if c.Cancel_ms > 0 {
		time.AfterFunc(time.Duration(c.Cancel_ms)*time.Millisecond, cancel)
	}
	request := []byte(c.Want + strings.Repeat(" ", max(0, c.Size-len(c.Want))))
	path := "/shop.Orders/" + c.Method
	var answer []byte
	if c.Method != "List" && c.Method != "Upload" && c.Method != "Chat" {
		if err = conn.Invoke(ctx, path, &request, &answer); err == nil {
			messages, received = 1, len(answer)
		}
		return
	}
	description := &grpc.StreamDesc{ServerStreams: c.Method != "Upload", ClientStreams: c.Method != "List"}
	stream, err := conn.NewStream(ctx, description, path)
	if err != nil {
		return
	}
	receive := func() bool {
		if err = stream.RecvMsg(&answer); err == nil {
			messages++
			received += len(answer)
		}
		return err == nil
	}
	for n := 0; n < c.Messages; n++ {
		if stream.SendMsg(&request) != nil || (c.Method == "Chat" && !receive()) {
			break // the stream has ended, and RecvMsg says how
		}
	}
	stream.CloseSend()
	for err == nil && receive() {
	}
	if err == io.EOF {
		err = nil
	}
	return
}

func client(address string, atOnce int, trust []string) error {
	secure := insecure.NewCredentials()
	if len(trust) == 1 {
		var err error
		if secure, err = credentials.NewClientTLSFromFile(trust[0], ""); err != nil {
			return err
		}
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secure))
	if err != nil {
		return err
	}
	free := make(chan struct{}, atOnce)
	var under sync.WaitGroup
	lines := bufio.NewScanner(os.Stdin)
	for number := 0; lines.Scan(); number++ {
		var one call
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return err
		}
		free <- struct{}{}
		under.Add(1)
		go func() {
			defer under.Done()
			messages, received, err := one.do(conn)
			<-free
			fmt.Printf("%d %s %d %d\n", number, names[status.Code(err)], messages, received)
		}()
	}
	under.Wait()
	return conn.Close()
}

func main() {
	encoding.RegisterCodec(raw{})
	var err error
	if os.Args[1] == "serve" {
		err = serve(os.Args[2], os.Args[3:])
	} else {
		atOnce, _ := strconv.Atoi(os.Args[3])
		err = client(os.Args[2], atOnce, os.Args[4:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
