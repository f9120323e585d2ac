//go:build go1.24

// `app serve2 ADDRESS [CERTIFICATE KEY]` speaks HTTP/1 and HTTP/2, with prior knowledge in the clear;
// `app client2 BASE AT_ONCE` speaks HTTP/2 alone, on one connection with so many streams at once.
package main

import (
	"net/http"
	"strconv"
)

func init() {
	roles["serve2"] = func(args []string) error {
		var all http.Protocols
		all.SetHTTP1(true)
		all.SetHTTP2(true)
		all.SetUnencryptedHTTP2(true)
		return serve(&http.Server{Protocols: &all}, args[0], args[1:])
	}
	roles["client2"] = func(args []string) error {
		var two http.Protocols
		two.SetHTTP2(true)
		two.SetUnencryptedHTTP2(true)
		atOnce, _ := strconv.Atoi(args[1])
		// Without the limit each of the first requests would open a connection of its own, and then share one.
		transport := &http.Transport{DisableCompression: true, Protocols: &two, MaxConnsPerHost: 1}
		return client(transport, args[0], atOnce)
	}
}
