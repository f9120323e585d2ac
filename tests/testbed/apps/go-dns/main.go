// Go's own resolver: `app NAME...` asks for each name's addresses, one after the other.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	for _, name := range os.Args[1:] {
		fmt.Println(net.LookupHost(name))
	}
}
