package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// A place is an address of this machine that some process will listen on by and
// by. It is kept from other demos until it is closed, by a UDP socket of the
// same number, which is in nobody's way.
type place struct {
	Addr string
	io.Closer
}

// claim takes an address on which nobody listens and that no other demo has
// claimed.
func claim(ctx context.Context, addr string) (place, error) {
	var network net.ListenConfig
	held, err := network.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return place{}, err
	}
	l, err := network.Listen(ctx, "tcp", addr)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return place{}, errors.Join(err, held.Close())
	}
	return place{addr, held}, nil
}

// claimAny claims an address on which nobody listens. Its port lies below the
// ranges from which systems take the ports of outgoing connections: a client
// that asks for such a port while nobody listens there can connect to itself,
// and then holds it.
func claimAny(ctx context.Context) (place, error) {
	var last error
	for range 100 {
		p, err := claim(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(15000))))
		if err == nil {
			return p, nil
		}
		last = err
	}
	return place{}, fmt.Errorf("no free port between 15000 and 30000: %w", last)
}

// defaultListen is where Belay's pages are when that place is free.
const defaultListen = "127.0.0.1:9720"

// claimPages claims the place of Belay's pages: the address that was asked for,
// which must then be free, or the usual one, or another.
func claimPages(ctx context.Context, asked string) (place, error) {
	if asked == "" {
		if p, err := claim(ctx, defaultListen); err == nil {
			return p, nil
		}
		return claimAny(ctx)
	}
	host, port, err := net.SplitHostPort(asked)
	if err != nil {
		return place{}, usage("--listen %q: want an address such as %s", asked, defaultListen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return place{}, usage("--listen %q: the demo stays on this machine; want a loopback address such as %s", asked, defaultListen)
	}
	if port == "0" {
		return claimAny(ctx)
	}
	p, err := claim(ctx, asked)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return place{}, usage("--listen %s is in use; choose another, or leave it out", asked)
	case err != nil:
		return place{}, usage("--listen %s: %w", asked, err)
	}
	return p, nil
}
