// Three routes on net/http, stopped by Shutdown.
package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// How long a stop may take.
const grace = 25 * time.Second

var large = bytes.Repeat([]byte("x"), 4<<20)

func root(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/":
		http.NotFound(w, r)
	case r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	default:
		io.WriteString(w, "hello\n")
	}
}

func sendLarge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(len(large)))
	w.Write(large)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatalln("usage: go-http ADDRESS:PORT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatalln(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", root)
	mux.HandleFunc("/large", sendLarge)
	server := http.Server{Handler: mux}

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		log.Fatalln(err)
	case <-ctx.Done():
	}

	limited, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(limited); err != nil {
		log.Fatalln("shutdown:", err)
	}
}
