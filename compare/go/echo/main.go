// The Go echo server that lameduck began with, after its description: everything
// looks once a second whether it should stop.
//
// Corrected is only what would crash it (serving after a failed accept) or make
// it no echo (answering with more than was read).
package main

import (
	"errors"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// How long anything waits before it looks for the end again. It is also the
// time that a client has to take its answer.
const poll = time.Second

type server struct {
	listener *net.TCPListener
	quit     chan struct{}
	tasks    sync.WaitGroup
}

func start(address string) (*server, error) {
	local, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", local)
	if err != nil {
		return nil, err
	}
	s := &server{listener: listener, quit: make(chan struct{})}
	s.tasks.Add(1)
	go s.accept()
	return s, nil
}

// Close tells everything to end and waits until it has, however long that takes.
func (s *server) Close() {
	close(s.quit)
	s.tasks.Wait()
}

func (s *server) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

func (s *server) accept() {
	defer s.tasks.Done()
	defer s.listener.Close()
	for !s.stopping() {
		s.listener.SetDeadline(time.Now().Add(poll))
		conn, err := s.listener.AcceptTCP()
		switch {
		case err == nil:
			s.tasks.Add(1)
			go s.echo(conn)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			log.Println("accept:", err)
		}
	}
}

func (s *server) echo(conn *net.TCPConn) {
	defer s.tasks.Done()
	defer conn.Close()
	buffer := make([]byte, 4096)
	for !s.stopping() {
		conn.SetDeadline(time.Now().Add(poll))
		n, err := conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			if err != io.EOF {
				log.Println("read:", err)
			}
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			log.Println("write:", err)
			return
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatalln("usage: go-echo ADDRESS:PORT")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	s, err := start(os.Args[1])
	if err != nil {
		log.Fatalln(err)
	}
	<-signals
	s.Close()
}
