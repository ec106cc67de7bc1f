package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// patience is how long the gateway tries to reach a shop that refuses
// connections, before it answers with 502. It hides the moment in which one
// version hands over to the next.
const patience = 800 * time.Millisecond

// newGateway returns the handler that stands between customers and the shop, as
// in production: it passes requests on, to one instance after the other, and
// counts the answers, those that the shop failed to give among them. Its metrics
// are at /metrics.
func newGateway(instances func() []string) http.Handler {
	to := &rotation{instances: instances}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_requests_total",
		Help: "Requests passed on to the shop, by the status code that customers got.",
	}, []string{"code"})
	for _, code := range []string{"200", "500", "502"} {
		requests.WithLabelValues(code) // born at zero, so that no first failure hides from rate()
	}
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "gateway_request_duration_seconds",
		Help:    "Time until customers had their answer.",
		Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests, seconds)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to.next()}) },
		Transport: &http.Transport{
			DialContext: to.dial, MaxIdleConnsPerHost: 64, ResponseHeaderTimeout: 2 * time.Second,
		},
		ModifyResponse: func(res *http.Response) error {
			requests.WithLabelValues(strconv.Itoa(res.StatusCode)).Inc()
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			requests.WithLabelValues("502").Inc()
			http.Error(w, "the shop does not answer", http.StatusBadGateway)
		},
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		proxy.ServeHTTP(w, r)
		seconds.Observe(time.Since(start).Seconds())
	})
	return mux
}

// nobody is asked while there is no instance: a place where none can listen.
const nobody = "127.0.0.1:1"

// A rotation goes round the instances that there are.
type rotation struct {
	instances func() []string
	turn      atomic.Uint64
}

func (r *rotation) next() string {
	now := r.instances()
	if len(now) == 0 {
		return nobody
	}
	return now[r.turn.Add(1)%uint64(len(now))]
}

// dial tries again for a while when nobody listens, at whichever instance has its
// turn then.
func (r *rotation) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
		addr = r.next()
	}
}
