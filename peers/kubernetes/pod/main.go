// Command pod is what a pod of the tests runs: a small service that answers
// /healthz and /metrics, and fails in the ways that services fail.
//
//	pod -version 1.42.0 -crash-after 200ms
//
// It listens on $POD_IP:$PORT unless -listen says otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

type options struct {
	listen, version string
	exit            int
	crashAfter      time.Duration
	startAfter      time.Duration
	unready         bool
	deaf            bool
	errors          int
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", os.Getenv("POD_IP")+":"+os.Getenv("PORT"), "`address`")
	flag.StringVar(&o.version, "version", "", "what it calls itself")
	flag.IntVar(&o.exit, "exit", 0, "end at once with this status, if it is not 0")
	flag.DurationVar(&o.crashAfter, "crash-after", 0, "end with status 2 after this time, if it is not 0")
	flag.DurationVar(&o.startAfter, "start-after", 0, "listen only after this time")
	flag.BoolVar(&o.unready, "unready", false, "answer /healthz with 503")
	flag.BoolVar(&o.deaf, "deaf", false, "do not end when asked to")
	flag.IntVar(&o.errors, "errors", 0, "answer one request in so many with 500, if it is not 0")
	flag.Parse()
	if o.exit != 0 {
		fmt.Fprintln(os.Stderr, "pod: ends with status", o.exit)
		os.Exit(o.exit)
	}
	if err := serve(o); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func serve(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if o.deaf {
		ctx = context.Background()
	}
	if o.crashAfter > 0 {
		time.AfterFunc(o.crashAfter, func() { fmt.Fprintln(os.Stderr, "panic: as it was told to"); os.Exit(2) })
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(o.startAfter):
	}
	server := &http.Server{Addr: o.listen, Handler: routes(o), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func routes(o options) http.Handler {
	var ok, failed atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if o.unready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, o.version)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE pod_info gauge\npod_info{version=%q,pod=%q} 1\n", o.version, os.Getenv("POD_NAME"))
		fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\",version=%q} %d\nhttp_requests_total{code=\"500\",version=%q} %d\n",
			o.version, ok.Load(), o.version, failed.Load())
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		if n := ok.Load() + failed.Load() + 1; o.errors > 0 && n%int64(o.errors) == 0 {
			failed.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		ok.Add(1)
		fmt.Fprintln(w, o.version)
	})
	return mux
}
