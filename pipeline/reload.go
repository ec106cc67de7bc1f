package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/rollback"
)

// ErrNotRunning is returned by Reload before Run has started everything, and
// after it has ended.
var ErrNotRunning = errors.New("Belay is not running") //nolint:staticcheck // a name

// Reload reads the configuration file again and swaps it whole, or not at all:
// whatever can fail happens before anything that runs is touched. Collecting,
// journal and pages go on meanwhile, and so do the rules that stay, with all
// that they have counted; the other parts stop, and new ones take up from the
// journal what they left. It returns when the new configuration is in force, or
// why it is not.
func (p *Pipeline) Reload(ctx context.Context) error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	b := p.base.Load()
	if b == nil {
		return ErrNotRunning
	}
	cfg, err := b.reload(ctx)
	switch {
	case errors.Is(err, ErrNotRunning):
		return err
	case err != nil:
		b.reloads.failed(err)
		p.log.Error("the configuration was not reloaded, the one before stays in force", "file", p.cfg.File, "error", err)
		return err
	}
	b.reloads.succeeded(time.Now())
	for _, w := range cfg.Warnings {
		p.log.Warn("configuration", "warning", w)
	}
	p.log.Info("configuration reloaded", "file", cfg.File, "hash", cfg.Hash)
	return nil
}

func (b *base) reload(ctx context.Context) (Config, error) {
	cfg, err := Load(b.p.cfg.File)
	if err != nil {
		return cfg, err
	}
	next, err := b.prepare(ctx, cfg)
	if err != nil {
		return cfg, err
	}
	if err := b.collect(cfg); err != nil {
		next.close()
		return cfg, errors.Join(err, b.mark(ctx, belay.KindConfigured, "that configuration could not be put in force; in force again: "+b.present.Load().cfg.described()))
	}
	done := make(chan struct{})
	select {
	case b.swap <- swap{next, done}:
	case <-b.ended:
		return cfg, ErrNotRunning
	}
	select {
	case <-done:
		return cfg, nil
	case <-b.ended:
		return cfg, ErrNotRunning
	}
}

// prepare does all that can fail and touches nothing that runs. The last of it
// is the entry in the journal: nothing changes that cannot be journalled.
func (b *base) prepare(ctx context.Context, cfg Config) (*parts, error) {
	if err := b.fixed(cfg); err != nil {
		return nil, err
	}
	if !until(ctx, b.collector.Ready()) {
		return nil, ctx.Err()
	}
	if err := b.collector.Check(cfg.collecting()); err != nil {
		return nil, err
	}
	if err := probe.Check(cfg.Probes); err != nil {
		return nil, err
	}
	next, err := b.parts(cfg)
	if err != nil {
		return nil, err
	}
	if err := b.mark(ctx, belay.KindConfigured, cfg.described()); err != nil {
		next.close()
		return nil, fmt.Errorf("nothing changes that cannot be journalled: %w", err)
	}
	return next, nil
}

// collect gives what collects its new configuration, which has been checked.
// Should it be refused all the same, the one before is in force again.
func (b *base) collect(cfg Config) error {
	before := b.present.Load().cfg
	if err := b.prober.Reload(cfg.Probes); err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	if err := b.collector.Reload(cfg.collecting()); err != nil {
		return errors.Join(err, b.prober.Reload(before.Probes))
	}
	b.collector.SetNeeded(cfg.needed())
	return nil
}

// A swap asks for other parts; done is closed when they are in place.
type swap struct {
	parts *parts
	done  chan struct{}
}

// fixed returns an error when the configuration changes what only a restart
// can change.
func (b *base) fixed(next Config) error {
	now := b.p.cfg
	var errs []error
	for _, k := range []struct{ key, now, next string }{
		{"journal.path", now.Journal.Path, next.Journal.Path},
		{"metrics.path", now.Collector.Metrics.Path, next.Collector.Metrics.Path},
		{"web.listen", now.Web.Listen, next.Web.Listen},
	} {
		if k.now != k.next {
			errs = append(errs, fmt.Errorf("%s: %s changes from %q to %q, which takes a restart; allowed: %q", next.File, k.key, k.now, k.next, k.now))
		}
	}
	return errors.Join(errs...)
}

// described is what the journal says of a configuration.
func (c *Config) described() string {
	return fmt.Sprintf("the configuration %s is in force, SHA-256 %s: %s, %s, %s",
		c.File, c.Hash, count(len(c.Services), "service"), count(len(c.Rules.Groups), "rule group"), count(len(c.Collector.ScrapeConfigs), "scrape configuration"))
}

// count says how many there are of a thing whose plural ends in s.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprint(n, " ", thing)
}

// hash returns 16 hex digits over texts.
func hash(texts ...[]byte) string {
	h := sha256.New()
	for _, t := range texts {
		sum := sha256.Sum256(t)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// reloads are what /metrics tells of reloads, under the names that dashboards
// know from Prometheus.
type reloads struct {
	mu   sync.Mutex
	last error // of the last reload, nil when it worked
	at   time.Time
}

func (r *reloads) succeeded(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.at = nil, at
}

func (r *reloads) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

// state returns when a configuration was taken last, and whether one was
// refused since.
func (r *reloads) state() (at time.Time, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.last != nil
}

// problem returns why the last reload failed, "" when it did not.
func (r *reloads) problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return ""
	}
	return r.last.Error()
}

// Describe sends nothing: what is told is plain enough.
func (r *reloads) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *reloads) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok := 1.0
	if r.last != nil {
		ok = 0
	}
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("belay_config_last_reload_successful",
		"1 when the last reload of the configuration worked, 0 when the one before it is still in force.", nil, nil), prometheus.GaugeValue, ok)
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("belay_config_last_reload_success_timestamp_seconds",
		"Unix time of the last reload that worked, or of the start.", nil, nil), prometheus.GaugeValue, float64(r.at.UnixMilli())/1000)
}

// steady returns a platform that is not interrupted in the middle of a change
// when the configuration is swapped: only the end of Belay does that.
func (b *base) steady(p rollback.Platform) rollback.Platform {
	if p == nil {
		return nil
	}
	return steady{p, b.ctx}
}

type steady struct {
	rollback.Platform
	until context.Context //nolint:containedctx // the life of the process, which no call knows
}

// Restore is not ended by the end of ctx.
func (s steady) Restore(ctx context.Context, op belay.Operation) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(s.until, cancel)()
	return s.Platform.Restore(ctx, op)
}

// Capabilities are those of the platform itself.
func (s steady) Capabilities() rollback.Capabilities { return rollback.CapabilitiesOf(s.Platform) }
