package promapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

func health(s string) rules.RuleHealth { return rules.RuleHealth(s) }

// config serves the configuration as Belay shows it: not upstream's rendering,
// which knows nothing of Belay's keys.
func (a *api) config(w http.ResponseWriter, r *http.Request) {
	text := ""
	if a.opts.Config != nil {
		text = a.opts.Config()
	}
	a.compressed(w, r, map[string]string{"yaml": text})
}

func (a *api) flags() map[string]string {
	if a.opts.Flags == nil {
		return map[string]string{}
	}
	return a.opts.Flags
}

func (a *api) gatherer() prometheus.Gatherer {
	if a.opts.Gatherer == nil {
		return prometheus.NewRegistry()
	}
	return a.opts.Gatherer
}

// globalURL tells upstream how targets on this host are called from outside.
func (a *api) globalURL() v1.GlobalURLOptions {
	o := v1.GlobalURLOptions{ListenAddress: a.opts.ListenAddress, Scheme: "http"}
	if o.ListenAddress == "" {
		o.ListenAddress = "127.0.0.1:0"
	}
	o.Host = o.ListenAddress
	if u := a.opts.ExternalURL; u != nil && u.Host != "" {
		o.Host, o.Scheme = u.Host, u.Scheme
	}
	return o
}

// build says which Prometheus this is to be taken for, and in the revision
// which Belay it is.
func (a *api) build() *v1.PrometheusVersion {
	return &v1.PrometheusVersion{
		Version: Speaks, Revision: a.opts.Revision, Branch: "belay " + a.opts.Version,
		GoVersion: runtime.Version(),
	}
}

func (a *api) runtime() (v1.RuntimeInfo, error) {
	dir, err := os.Getwd()
	if err != nil {
		return v1.RuntimeInfo{}, fmt.Errorf("working directory: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return v1.RuntimeInfo{}, fmt.Errorf("hostname: %w", err)
	}
	info := v1.RuntimeInfo{
		CWD: dir, Hostname: host, ServerTime: time.Now().UTC(), GoroutineCount: runtime.NumGoroutine(),
		GOMAXPROCS: runtime.GOMAXPROCS(0), GOMEMLIMIT: debug.SetMemoryLimit(-1), GOGC: os.Getenv("GOGC"), GODEBUG: os.Getenv("GODEBUG"),
		ReloadConfigSuccess: true,
	}
	if a.opts.Runtime != nil {
		r := a.opts.Runtime()
		info.StartTime, info.LastConfigTime = r.Started, r.ConfigLoaded
		info.ReloadConfigSuccess, info.StorageRetention = !r.ConfigFailed, r.RetentionText
	}
	return info, nil
}

// scraping is what knows the targets: a *scrape.Manager, or nothing.
type scraping interface {
	v1.TargetRetriever
	v1.ScrapePoolsRetriever
}

func (a *api) scraping() scraping {
	if a.opts.Scraping != nil {
		if m := a.opts.Scraping(); m != nil {
			return m
		}
	}
	return nothing{}
}

// nothing scrapes nothing and sends nothing.
type nothing struct{}

func (nothing) TargetsActive() map[string][]*scrape.Target  { return nil }
func (nothing) TargetsDropped() map[string][]*scrape.Target { return nil }
func (nothing) TargetsDroppedCounts() map[string]int        { return map[string]int{} }
func (nothing) ScrapePools() []string                       { return []string{} }
func (nothing) Alertmanagers() []*url.URL                   { return nil }
func (nothing) DroppedAlertmanagers() []*url.URL            { return nil }

func (nothing) ScrapePoolConfig(pool string) (*config.ScrapeConfig, error) {
	return nil, fmt.Errorf("scrape pool %q not found", pool)
}

// queryable reads samples where Belay reads them, and chunks, which remote
// read sends as they are, from the storage.
type queryable struct {
	storage.Queryable
	db  func() *tsdb.DB
	now func() time.Time
}

// Querier reads between two times. A request for names that says no times means
// all there are; of a source elsewhere, which would send every sample of its
// whole retention, it means the last day.
func (q queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	if _, here := q.Queryable.(storage.ChunkQueryable); !here {
		now := q.now()
		if mint == v1.MinTime.UnixMilli() {
			mint = now.Add(-24 * time.Hour).UnixMilli()
		}
		if maxt == v1.MaxTime.UnixMilli() {
			maxt = now.UnixMilli()
		}
	}
	return q.Queryable.Querier(mint, maxt)
}

func (q queryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	if db := q.db(); db != nil {
		return db.ChunkQuerier(mint, maxt)
	}
	return nil, tsdb.ErrNotReady
}

// exemplars reads those of the storage; without one there are none.
type exemplars struct{ db func() *tsdb.DB }

func (e exemplars) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	if db := e.db(); db != nil {
		return db.ExemplarQuerier(ctx)
	}
	return noExemplars{}, nil
}

type noExemplars struct{}

func (noExemplars) Select(int64, int64, ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	return []exemplar.QueryResult{}, nil
}

var errReadOnly = errors.New("belay does not change its storage by this API")

// admin shows the state of the storage and changes nothing.
type admin struct{ db func() *tsdb.DB }

func (admin) CleanTombstones() error      { return errReadOnly }
func (admin) Snapshot(string, bool) error { return errReadOnly }

func (admin) Delete(context.Context, int64, int64, ...*labels.Matcher) error {
	return errReadOnly
}

func (s admin) Stats(label string, limit int) (*tsdb.Stats, error) {
	if db := s.db(); db != nil {
		return db.Head().Stats(label, limit), nil
	}
	return nil, tsdb.ErrNotReady
}

// WALReplayStatus is always that of a replay that is over: before, the API is
// not ready.
func (s admin) WALReplayStatus() (tsdb.WALReplayStatus, error) {
	if s.db() == nil {
		return tsdb.WALReplayStatus{}, tsdb.ErrNotReady
	}
	return tsdb.WALReplayStatus{}, nil
}

func (s admin) BlockMetas() ([]tsdb.BlockMeta, error) {
	if db := s.db(); db != nil {
		return db.BlockMetas(), nil
	}
	return nil, tsdb.ErrNotReady
}

// appendable lets the receiver of remote write use an appender that takes no
// exemplars; they are then left out.
type appendable struct{ to storage.AppendableV2 }

func (a appendable) AppenderV2(ctx context.Context) storage.AppenderV2 {
	app := a.to.AppenderV2(ctx)
	if _, ok := app.(storage.ExemplarAppenderV2); ok {
		return app
	}
	return withoutExemplars{app}
}

type withoutExemplars struct{ storage.AppenderV2 }

// AppendExemplars leaves them out.
func (withoutExemplars) AppendExemplars(ref storage.SeriesRef, _ labels.Labels, _ []exemplar.Exemplar) (storage.SeriesRef, error) {
	return ref, nil
}
