package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// freeAddress returns an address of this machine on which nothing listens. The
// port lies below the ranges from which systems take the ports of outgoing
// connections: a client that asks for such a port while nobody listens there can
// connect to itself, and then holds it.
func freeAddress(ctx context.Context) (string, error) {
	var last error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(15000)))
		if last = isFree(ctx, addr); last == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no free port between 15000 and 30000: %w", last)
}

func isFree(ctx context.Context, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// defaultListen is where Belay's pages are when that place is free.
const defaultListen = "127.0.0.1:9720"

// pagesAddress returns where Belay's pages shall be: the address that was asked
// for, which must then be free, or the usual one, or another.
func pagesAddress(ctx context.Context, asked string) (string, error) {
	if asked == "" {
		if isFree(ctx, defaultListen) == nil {
			return defaultListen, nil
		}
		return freeAddress(ctx)
	}
	host, port, err := net.SplitHostPort(asked)
	if err != nil {
		return "", usage("--listen %q: want an address such as %s", asked, defaultListen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", usage("--listen %q: the demo stays on this machine; want a loopback address such as %s", asked, defaultListen)
	}
	if port == "0" {
		return freeAddress(ctx)
	}
	if err := isFree(ctx, asked); errors.Is(err, syscall.EADDRINUSE) {
		return "", usage("--listen %s is in use; choose another, or leave it out", asked)
	} else if err != nil {
		return "", usage("--listen %s: %w", asked, err)
	}
	return asked, nil
}
