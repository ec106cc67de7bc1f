// Package promapi serves Prometheus's HTTP API over Belay's metrics, rules and
// alerts: /api/v1 for Grafana's Prometheus data source and promtool, the
// receiver of remote write, and /federate.
//
// Queries, series, labels, targets and the receiver are Prometheus's own code.
// Rules and alerts are answered from what Belay's engine says, in Prometheus's
// words. Addresses that change the storage (the admin API), and those that
// belong to its user interface, are not served.
package promapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// Speaks is the version of Prometheus whose API this is. Clients read it from
// /api/v1/status/buildinfo to learn what they may ask for, so it is this and
// not Belay's own.
const Speaks = "3.16.0"

// Options are what the API serves. Queryable is required; what is left out is
// answered as Prometheus answers when there is none of it.
type Options struct {
	Queryable  storage.Queryable
	Appendable storage.AppendableV2     // nil: /api/v1/write is not served
	DB         func() *tsdb.DB          // nil, or returning nil: no exemplars, no status of the storage, no remote read
	Scraping   func() *scrape.Manager   // nil, or returning nil: no targets
	Rules      func() []Group           // in the order of the files
	Ready      func() error             // nil when the storage can be used
	Forwarded  v1.AlertmanagerRetriever // to whom alerts are forwarded; nil: nobody

	Config   func() string       // the configuration in YAML, its secrets masked
	Flags    map[string]string   // of the command line
	Gatherer prometheus.Gatherer // Belay's own metrics
	Runtime  func() Runtime      // when it started and was configured
	Version  string              // of Belay
	Revision string              // of Belay

	ExternalLabels     labels.Labels
	ExternalURL        *url.URL // where people reach Belay
	ListenAddress      string
	ScrapeInterval     time.Duration // of the configuration's global part; 0 is a minute
	EvaluationInterval time.Duration // the step of subqueries without one; 0 is a minute

	Limits Limits
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now; upstream's part of the API always reads the clock itself
}

// Limits keep one query from taking what all of Belay needs. A zero is the
// default.
type Limits struct {
	Timeout     time.Duration // of one request, waiting for its turn included; 2 minutes
	Samples     int           // in memory for one query; 10 million, about 160 MB
	Concurrency int           // queries at once; 8. Those beyond wait for their turn
	Lookback    time.Duration // how old the newest sample of an instant may be; 5 minutes
	Body        int64         // bytes of a query in a body; 1 MiB
	WriteBody   int64         // bytes of one remote write, compressed; 16 MiB. Decompressed, 32 MiB
}

func (l *Limits) defaults() {
	set(&l.Timeout, 2*time.Minute)
	set(&l.Samples, 10_000_000)
	set(&l.Concurrency, 8)
	set(&l.Lookback, 5*time.Minute)
	set(&l.Body, 1<<20)
	set(&l.WriteBody, 16<<20)
}

func set[T int | int64 | time.Duration](to *T, fallback T) {
	if *to <= 0 {
		*to = fallback
	}
}

// Runtime is what /api/v1/status/runtimeinfo says that the process does not
// know of itself.
type Runtime struct {
	Started       time.Time
	ConfigLoaded  time.Time // the last configuration that was taken
	ConfigFailed  bool      // the one offered since was refused
	RetentionText string    // such as 15d
}

// api answers the requests.
type api struct {
	opts   Options
	parser parser.Parser
	slots  chan struct{} // one for each query at work
	log    *slog.Logger
	routes map[string]address
}

// A address is how one address is served.
type address struct {
	get, post bool
	limit     bool // takes a slot, as queries do
	body      int64
	serve     http.Handler
}

// New returns the handler of /api/v1/… and /federate. It expects whole paths,
// and that whoever mounts it has decided who may: POST to /api/v1/write
// changes the storage, nothing else does.
//
// It bounds bodies, the time of a request and queries at once by Limits, and
// gives long answers a write deadline of their own.
func New(opts Options) http.Handler {
	opts.Limits.defaults()
	set(&opts.ScrapeInterval, time.Minute)
	set(&opts.EvaluationInterval, time.Minute)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Forwarded == nil {
		opts.Forwarded = nothing{}
	}
	a := &api{
		opts: opts, log: opts.Logger, parser: parser.NewParser(parser.Options{}),
		slots: make(chan struct{}, opts.Limits.Concurrency),
	}
	a.table(a.upstream())
	return a
}

// prefix is where the API lies.
const prefix = "/api/v1"

// table sets which addresses there are.
func (a *api) table(up http.Handler) {
	body := a.opts.Limits.Body
	query := address{get: true, post: true, limit: true, body: body, serve: up}
	form := address{get: true, post: true, body: body, serve: up}
	read := address{get: true, serve: up}
	own := func(f http.HandlerFunc) address { return address{get: true, serve: f} }
	routes := map[string]address{
		"/query": query, "/query_range": query, "/query_exemplars": query,
		"/series": query, "/labels": query, "/label/*/values": query,
		"/format_query": form, "/parse_query": form,
		"/metadata": read, "/targets": read, "/targets/metadata": read,
		"/scrape_pools": read, "/alertmanagers": read,
		"/status/runtimeinfo": read, "/status/buildinfo": read, "/status/flags": read,
		"/status/config": own(a.config), "/rules": own(a.rules), "/alerts": own(a.alerts),
	}
	if a.opts.DB != nil {
		routes["/status/tsdb"], routes["/status/tsdb/blocks"], routes["/status/walreplay"] = read, read, read
		routes["/read"] = address{post: true, limit: true, body: body, serve: up}
	}
	if a.opts.Appendable != nil {
		routes["/write"] = address{post: true, body: a.opts.Limits.WriteBody, serve: up}
	}
	a.routes = map[string]address{"/federate": {get: true, limit: true, serve: http.HandlerFunc(a.federate)}}
	for path, r := range routes {
		a.routes[prefix+path] = r
	}
}

// find returns how a path is served. The one address with a name in it is that
// of a label's values.
func (a *api) find(path string) (address, bool) {
	if name, ok := strings.CutPrefix(path, prefix+"/label/"); ok {
		if name, ok = strings.CutSuffix(name, "/values"); ok && name != "" && !strings.Contains(name, "/") {
			path = prefix + "/label/*/values"
		}
	}
	r, ok := a.routes[path]
	return r, ok
}

// upstream is Prometheus's own API.
func (a *api) upstream() http.Handler {
	o := a.opts
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: a.log, MaxSamples: o.Limits.Samples, Timeout: o.Limits.Timeout, LookbackDelta: o.Limits.Lookback,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: a.parser,
		NoStepSubqueryIntervalFn: func(int64) int64 { return o.EvaluationInterval.Milliseconds() },
	})
	var to storage.AppendableV2
	if o.Appendable != nil {
		to = appendable{o.Appendable}
	}
	upstream := v1.NewAPI(engine, queryable{o.Queryable, a.db, o.Now}, to, exemplars{a.db},
		func(context.Context) v1.ScrapePoolsRetriever { return a.scraping() },
		func(context.Context) v1.TargetRetriever { return a.scraping() },
		func(context.Context) v1.AlertmanagerRetriever { return a.opts.Forwarded },
		a.upstreamConfig, a.flags(), a.globalURL(), a.whenReady,
		admin{a.db}, "", false, false, 0, a.log,
		nil, // rules: it wants Prometheus's own groups
		50e6, 4, 1<<20,
		false, nil, a.runtime, a.build(), nil, nil, a.gatherer(), prometheus.NewRegistry(), nil,
		to != nil, remote.MessageTypes{remote.WriteV1MessageType, remote.WriteV2MessageType}, false, false, false,
		o.Limits.Lookback, false, false, nil, nil, v1.OpenAPIOptions{}, a.parser, false, o.Limits.Timeout)
	router := route.New()
	upstream.Register(router)
	return http.StripPrefix(prefix, router)
}

// upstreamConfig is as much of a configuration as Prometheus's code reads.
func (a *api) upstreamConfig() config.Config {
	c := config.DefaultConfig
	c.GlobalConfig.ScrapeInterval = model.Duration(a.opts.ScrapeInterval)
	c.GlobalConfig.EvaluationInterval = model.Duration(a.opts.EvaluationInterval)
	c.GlobalConfig.ExternalLabels = a.opts.ExternalLabels
	return c
}

func (a *api) db() *tsdb.DB {
	if a.opts.DB == nil {
		return nil
	}
	return a.opts.DB()
}
