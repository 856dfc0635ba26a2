package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

const sysSetns = 308 // linux/amd64; package syscall does not name it

// forward listens where it is started and connects inside another network namespace: the one way from the machine
// into the lab, so that the machine's own namespace needs no address and no route.
func forward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	rest, err := parse(flags, args, "LISTEN", "NETNS", "ADDR")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", rest[0])
	if err != nil {
		return err
	}
	namespace, err := os.Open(rest[1])
	if err != nil {
		return err
	}
	accepted := make(chan net.Conn)
	entered := make(chan error)
	go func() { // this goroutine keeps its thread, which never comes back from the namespace
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(sysSetns, namespace.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			entered <- fmt.Errorf("setns %s: %w", rest[1], errno)
			return
		}
		entered <- nil
		for conn := range accepted {
			upstream, err := net.DialTimeout("tcp", rest[2], 5*time.Second)
			if err != nil {
				log.Print(err)
				conn.Close()
				continue
			}
			go join(conn.(*net.TCPConn), upstream.(*net.TCPConn))
		}
	}()
	if err := <-entered; err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		accepted <- conn
	}
}

func join(a, b *net.TCPConn) {
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(b, a)
		b.CloseWrite()
		close(done)
	}()
	io.Copy(a, b)
	a.CloseWrite()
	<-done
}
