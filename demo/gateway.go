package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
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
// in production: it passes requests on and counts the answers, those that the
// shop failed to give among them. Its metrics are at /metrics.
func newGateway(shop string) http.Handler {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_requests_total",
		Help: "Requests passed on to the shop, by the status code that customers got.",
	}, []string{"code"})
	for _, code := range []string{"200", "500", "502"} {
		requests.WithLabelValues(code) // born at zero, so that no first failure hides from rate()
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: shop}) },
		Transport: &http.Transport{
			DialContext: dialPatiently, MaxIdleConnsPerHost: 64, ResponseHeaderTimeout: 2 * time.Second,
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
	mux.Handle("/", proxy)
	return mux
}

// dialPatiently tries again for a while when nobody listens.
func dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
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
	}
}
