package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ShopOptions say how one version of the shop runs.
type ShopOptions struct {
	Listen  string // address; the version before may hold it for up to two seconds more
	Version string
	Fault   Fault
	Out     io.Writer // gets a line at start and end; nil discards
}

// ErrCrashed is returned by Shop when the version has crashed, as its fault
// demands. A process should then end with status 2.
var ErrCrashed = errors.New("panic: checkout: negative stock in warehouse 7")

const (
	versionHeader = "X-Shop-Version"
	crashAfter    = time.Second            // after the first request
	failAfter     = 2 * time.Second        // after the first request, as when a cache has filled
	slowness      = 250 * time.Millisecond // that an order takes longer, by the version with FaultLatency
	leaked        = 10 * time.Microsecond  // that each order adds to all that follow, by the version with FaultLeak
	brokenCart    = 12                     // every cart whose number this divides is then priced wrongly by the version with FaultErrors
)

// Shop serves one version of the shop until ctx ends: /checkout, /cart,
// /healthz and /metrics. It then answers what is in flight and returns nil.
func Shop(ctx context.Context, opts ShopOptions) error {
	listener, err := listenPatiently(ctx, opts.Listen)
	if err != nil {
		return fmt.Errorf("shop %s: %w", opts.Version, err)
	}
	if opts.Out == nil {
		opts.Out = io.Discard
	}
	_, _ = fmt.Fprintf(opts.Out, "%s checkout %s serves on %s\n", time.Now().UTC().Format(time.RFC3339Nano), opts.Version, opts.Listen)
	s := newShop(opts)
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("shop %s: %w", opts.Version, err)
	case <-s.crashed:
		return ErrCrashed
	case <-ctx.Done():
	}
	_, _ = fmt.Fprintf(opts.Out, "%s checkout %s was asked to end\n", time.Now().UTC().Format(time.RFC3339Nano), opts.Version)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		return fmt.Errorf("shop %s: %w", opts.Version, err)
	}
	return nil
}

// listenPatiently waits for the version before to leave the address.
func listenPatiently(ctx context.Context, addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

type shop struct {
	ShopOptions
	first    sync.Once // request
	crashed  chan struct{}
	broken   atomic.Bool
	orders   atomic.Int64
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newShop(opts ShopOptions) *shop {
	s := &shop{
		ShopOptions: opts,
		crashed:     make(chan struct{}),
		registry:    prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total",
			Help: "Requests answered, by path, status code and version.",
		}, []string{"path", "code", "version"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_request_duration_seconds",
			Help:    "Time to answer a request, by path and version.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}, []string{"path", "version"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "shop_build_info",
		Help: "The version that runs; always 1.",
	}, []string{"version"})
	build.WithLabelValues(opts.Version).Set(1)
	s.registry.MustRegister(s.requests, s.seconds, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// A counter that is born with its first failure hides that failure from
	// rate(); so each is born at zero.
	for _, path := range []string{"/checkout", "/cart"} {
		for _, code := range []string{"200", "500"} {
			s.requests.WithLabelValues(path, code, opts.Version)
		}
	}
	return s
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /checkout", s.measured("/checkout", s.checkout))
	mux.Handle("GET /cart", s.measured("/cart", s.cart))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(versionHeader, s.Version)
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// A page answers a request for a cart with a status code and a text.
type page func(ctx context.Context, cart int) (int, string)

func (s *shop) measured(path string, answer page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.first.Do(s.startToFail)
		start := time.Now()
		code, text := http.StatusBadRequest, "cart: want a number"
		if cart, err := strconv.Atoi(r.URL.Query().Get("cart")); err == nil {
			code, text = answer(r.Context(), cart)
		}
		w.Header().Set(versionHeader, s.Version)
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, text)
		s.requests.WithLabelValues(path, strconv.Itoa(code), s.Version).Inc()
		s.seconds.WithLabelValues(path, s.Version).Observe(time.Since(start).Seconds())
	})
}

func (s *shop) startToFail() {
	switch s.Fault {
	case FaultCrash:
		time.AfterFunc(crashAfter, func() { close(s.crashed) })
	case FaultErrors, FaultLatency:
		time.AfterFunc(failAfter, func() { s.broken.Store(true) })
	}
}

func (s *shop) checkout(ctx context.Context, cart int) (int, string) {
	if s.Fault == FaultErrors && s.broken.Load() && cart%brokenCart == 0 {
		return http.StatusInternalServerError, "checkout: total is negative"
	}
	receipt := price(cart, 400)
	if !pay(ctx, time.Duration(2000+cart%7*500)*time.Microsecond+s.delay()) {
		return http.StatusServiceUnavailable, "checkout: payment was interrupted"
	}
	return http.StatusOK, "paid, receipt " + receipt
}

func (s *shop) cart(_ context.Context, cart int) (int, string) {
	return http.StatusOK, "cart " + price(cart, 100)
}

// price does the work of pricing a cart: some hundred microseconds of it.
func price(cart, rounds int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(cart)))
	for range rounds {
		sum = sha256.Sum256(sum[:])
	}
	return hex.EncodeToString(sum[:6])
}

// delay is how much longer the fault makes a payment take.
func (s *shop) delay() time.Duration {
	switch orders := s.orders.Add(1); {
	case s.Fault == FaultLeak:
		return time.Duration(orders) * leaked // each leaves a connection behind, and all are looked through
	case s.Fault == FaultLatency && s.broken.Load():
		return slowness
	}
	return 0
}

// pay waits for a payment and says whether it came through.
func pay(ctx context.Context, takes time.Duration) bool {
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
