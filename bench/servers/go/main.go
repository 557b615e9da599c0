// bench/servers/go/main.go PORT echo|http: the servers in Go, on GOMAXPROCS processors.
package main

import (
	"net"
	"net/http"
	"os"
)

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err = c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Write([]byte("Hello, world!\n"))
}

func main() {
	l, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	if os.Args[2] == "http" {
		panic(http.Serve(l, http.HandlerFunc(hello)))
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go echo(c)
	}
}
