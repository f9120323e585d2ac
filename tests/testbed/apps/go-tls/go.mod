module testbed/go-tls

go 1.19
