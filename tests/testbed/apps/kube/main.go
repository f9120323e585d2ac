// A control plane in one binary: kube-apiserver or etcd, whichever its first argument names.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) > 1 {
		name := os.Args[1]
		os.Args = os.Args[1:]
		switch name {
		case "kube-apiserver":
			os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
		case "etcd":
			etcdmain.Main(os.Args)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "kube-apiserver or etcd")
	os.Exit(2)
}
