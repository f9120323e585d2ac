// The least program with crypto/tls in it: dials, asks, prints how many bytes came back.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
)

func main() {
	connection, err := tls.Dial("tcp", os.Args[1], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()
	buffer := make([]byte, 4096)
	fmt.Fprint(connection, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
	read, err := connection.Read(buffer)
	fmt.Println(read, err)
}
