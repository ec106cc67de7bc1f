// Package source asks a metrics store that people keep, such as Prometheus,
// Thanos, Mimir or VictoriaMetrics, instead of Belay's own. It needs nothing of
// the store but Prometheus's HTTP API: no remote read.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// Limits that hold where the configuration says nothing.
const (
	DefaultTimeout     = model.Duration(30 * time.Second)
	DefaultAnswerLimit = 64 << 20 // bytes of one answer, uncompressed
	DefaultLookback    = 5 * time.Minute
)

// Config is the key metrics.source.
type Config struct {
	URL              promconfig.URL              `yaml:"url"`     // where /api/v1 is found below
	Timeout          model.Duration              `yaml:"timeout"` // of one query; 30s unless given
	HTTPClientConfig promconfig.HTTPClientConfig `yaml:",inline"`
}

// UnmarshalYAML fills in what is not given.
func (c *Config) UnmarshalYAML(read func(any) error) error {
	type plain Config
	*c = Config{Timeout: DefaultTimeout, HTTPClientConfig: promconfig.DefaultHTTPClientConfig}
	return read((*plain)(c))
}

// Validate says what is wrong with the values.
func (c *Config) Validate() error {
	switch {
	case c.URL.URL == nil || c.URL.Host == "" || c.URL.Scheme != "http" && c.URL.Scheme != "https":
		return errors.New("url: the address of a Prometheus, Thanos, Mimir or VictoriaMetrics is needed, such as http://prometheus:9090")
	case c.Timeout <= 0:
		return errors.New("timeout: a duration above 0, such as 30s")
	}
	return c.HTTPClientConfig.Validate()
}

// Options are what a Source may be given.
type Options struct {
	AnswerLimit int64         // bytes; 0 is DefaultAnswerLimit
	Lookback    time.Duration // of the store; 0 is DefaultLookback
}

// A Source is a metrics store that is asked over HTTP. It is a storage.Queryable.
type Source struct {
	api      v1.API
	timeout  time.Duration
	lookback time.Duration
	idle     func()
}

// New makes a Source. It asks nothing yet.
func New(cfg Config, opts Options) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.AnswerLimit <= 0 {
		opts.AnswerLimit = DefaultAnswerLimit
	}
	if opts.Lookback <= 0 {
		opts.Lookback = DefaultLookback
	}
	transport, err := promconfig.NewRoundTripperFromConfig(cfg.HTTPClientConfig, "source")
	if err != nil {
		return nil, fmt.Errorf("metrics.source: %w", err)
	}
	client, err := api.NewClient(api.Config{Address: cfg.URL.String(), RoundTripper: limited{transport, opts.AnswerLimit}})
	if err != nil {
		return nil, fmt.Errorf("metrics.source: %w", err)
	}
	idle := (&http.Client{Transport: transport}).CloseIdleConnections
	return &Source{api: v1.NewAPI(client), timeout: time.Duration(cfg.Timeout), lookback: opts.Lookback, idle: idle}, nil
}

// Close lets go of connections that nobody uses.
func (s *Source) Close() { s.idle() }

// Query evaluates an expression at a time. A scalar is a vector of one sample
// without labels; a range or a text is an error.
func (s *Source) Query(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	value, _, _, err := s.api.Query(ctx, expr, at)
	if err != nil {
		return nil, asked(expr, err)
	}
	switch v := value.(type) {
	case model.Vector:
		out := make(promql.Vector, len(v))
		for i, sample := range v {
			if sample.Histogram != nil {
				return nil, asked(expr, errHistogram)
			}
			out[i] = promql.Sample{Metric: metric(sample.Metric), T: int64(sample.Timestamp), F: float64(sample.Value)}
		}
		return out, nil
	case *model.Scalar:
		return promql.Vector{{T: int64(v.Timestamp), F: float64(v.Value)}}, nil
	}
	return nil, asked(expr, fmt.Errorf("its answer is %s, not a vector", kind(value)))
}

// QueryRange evaluates an expression at every step from start to end.
func (s *Source) QueryRange(ctx context.Context, expr string, start, end time.Time, step time.Duration) (promql.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	value, _, _, err := s.api.QueryRange(ctx, expr, v1.Range{Start: start, End: end, Step: step})
	if err != nil {
		return nil, asked(expr, err)
	}
	m, ok := value.(model.Matrix)
	if !ok {
		return nil, asked(expr, fmt.Errorf("its answer is %s, not a matrix", kind(value)))
	}
	return matrix(expr, m)
}

func matrix(expr string, m model.Matrix) (promql.Matrix, error) {
	out := make(promql.Matrix, len(m))
	for i, stream := range m {
		if len(stream.Histograms) > 0 {
			return nil, asked(expr, errHistogram)
		}
		out[i].Metric = metric(stream.Metric)
		out[i].Floats = make([]promql.FPoint, len(stream.Values))
		for k, pair := range stream.Values {
			out[i].Floats[k] = promql.FPoint{T: int64(pair.Timestamp), F: float64(pair.Value)}
		}
	}
	return out, nil
}

// errHistogram says what the JSON of the HTTP API cannot carry whole.
var errHistogram = errors.New("native histograms do not come over the HTTP API whole; ask for histogram_quantile or another function of them")

// kind names the type of an answer, which may hold nothing at all.
func kind(v model.Value) string {
	if v == nil {
		return "empty"
	}
	return "a " + v.Type().String()
}

func asked(expr string, err error) error { return fmt.Errorf("ask the source for %s: %w", expr, err) }

func metric(m model.Metric) labels.Labels {
	b := labels.NewScratchBuilder(len(m))
	for name, value := range m {
		b.Add(string(name), string(value))
	}
	b.Sort()
	return b.Labels()
}

// limited ends answers that are too long.
type limited struct {
	http.RoundTripper
	limit int64
}

// RoundTrip hands the request on.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &bounded{resp.Body, l.limit}
	}
	return resp, err
}

type bounded struct {
	io.ReadCloser
	left int64
}

var errTooLong = errors.New("the answer is too long; ask for less")

// Read fails once more than the limit was there to read.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
