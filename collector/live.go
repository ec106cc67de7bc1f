package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/logging"
)

// ErrNotRunning is what Reload returns before Run, and after it.
var ErrNotRunning = errors.New("the collector does not run")

// A live is what a running collector consists of.
type live struct {
	finder     *discovery.Manager
	stopFinder context.CancelFunc
	scraper    *scrape.Manager
	sender     *remote.WriteStorage
	db         *tsdb.DB
	reg        prometheus.Registerer
}

// assemble makes the parts for the configuration; they do not run yet.
func (c *Collector) assemble(ctx context.Context, db *tsdb.DB, reg *prometheus.Registry) (*live, error) {
	l := &live{db: db, reg: reg}
	if err := c.discovery(ctx, l); err != nil {
		return nil, err
	}
	var err error
	l.scraper, err = scrape.NewManager(&scrape.Options{
		PassMetadataInContext:    true, // tells the tap whose transaction it is
		AppendMetadata:           true, // for remote_write 2.0
		EnableOpenMetrics2:       true, // where scrape_protocols asks for it
		DiscoveryReloadOnStartup: true,
		DiscoveryReloadInterval:  model.Duration(reloadDelay),
	}, c.logger.With("component", "scrape"), logging.NewJSONFileLogger, nil, c, reg)
	if err != nil {
		l.stopFinder()
		return nil, fmt.Errorf("prepare the scraping: %w", err)
	}
	l.sender = remote.NewWriteStorage(c.logger.With("component", "remote_write"), reg, c.cfg.Metrics.Path, flushDeadline, running{l.scraper}, false)
	db.SetWriteNotified(l.sender)
	if err := errors.Join(ready(c.cfg, c.logger), c.apply(l, c.cfg, nil)); err != nil {
		l.stopFinder()
		return nil, errors.Join(err, l.sender.Close())
	}
	return l, nil
}

func (l *live) close() {
	l.stopFinder()
	_ = l.sender.Close() // sends what is left, for flushDeadline at most
}

// running hands the scraping to remote_write, which reads metadata there.
type running struct{ m *scrape.Manager }

func (r running) Get() (*scrape.Manager, error) { return r.m, nil }

func (c *Collector) discovery(ctx context.Context, l *live) error {
	// Discovery outlives ctx until the scrapes have ended: what it no longer
	// names would be taken for gone, and its series for ended.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	sd, err := discovery.CreateAndRegisterSDMetrics(l.reg)
	if err != nil {
		stop()
		return fmt.Errorf("prepare the discovery of targets: %w", err)
	}
	l.finder = discovery.NewManager(ctx, c.logger.With("component", "discovery"), l.reg, sd, discovery.Name("scrape"), discovery.Updatert(discoveryDelay))
	if l.finder == nil {
		stop()
		return errors.New("prepare the discovery of targets: see the log")
	}
	l.stopFinder = stop
	return nil
}

// Check returns why Reload would refuse a configuration. It tries everything
// that can fail and touches nothing that runs.
func (c *Collector) Check(cfg Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check(cfg)
}

func (c *Collector) check(cfg Config) error {
	if c.live == nil {
		return ErrNotRunning
	}
	if cfg.Metrics.Path != c.cfg.Metrics.Path {
		return fmt.Errorf("metrics.path cannot change from %s to %s while Belay runs; start it anew", c.cfg.Metrics.Path, cfg.Metrics.Path)
	}
	if cfg.Metrics.Retention <= 0 {
		return errors.New("metrics.retention: samples that are kept for no time cannot be judged")
	}
	return ready(cfg, c.logger)
}

// Reload replaces the configuration of a running collector, whole or not at
// all. What can fail is tried before anything is touched; a failure after that
// brings the old configuration back. Targets that stay the same are scraped as
// if nothing had happened. The folder of the samples cannot change.
func (c *Collector) Reload(cfg Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(cfg); err != nil {
		return err
	}
	old := c.cfg
	if err := c.apply(c.live, cfg, &old); err != nil {
		if back := c.apply(c.live, old, &cfg); back != nil {
			err = errors.Join(err, fmt.Errorf("bring the old configuration back: %w", back))
		}
		return err
	}
	c.cfg = cfg
	return nil
}

// ready tries everything that can fail in a configuration: certificates,
// clients, log files, discovery. It leaves nothing behind.
func ready(cfg Config, logger *slog.Logger) error {
	sd, err := discovery.CreateAndRegisterSDMetrics(prometheus.NewRegistry())
	if err != nil {
		return fmt.Errorf("prepare the discovery of targets: %w", err)
	}
	for _, sc := range cfg.ScrapeConfigs {
		if err := readyJob(sc, sd, logger); err != nil {
			return fmt.Errorf("scrape configuration %q: %w", sc.JobName, err)
		}
	}
	return sendable(cfg.RemoteWrite)
}

func readyJob(sc *config.ScrapeConfig, sd *discovery.SDMetrics, logger *slog.Logger) error {
	if _, err := promconfig.NewClientFromConfig(sc.HTTPClientConfig, sc.JobName); err != nil {
		return err
	}
	if sc.ScrapeFailureLogFile != "" {
		file, err := logging.NewJSONFileLogger(sc.ScrapeFailureLogFile)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	for _, d := range sc.ServiceDiscoveryConfigs {
		if _, err := d.NewDiscoverer(discovery.DiscovererOptions{Logger: logger, Metrics: sd.MechanismMetrics[d.Name()], SetName: sc.JobName}); err != nil {
			return fmt.Errorf("%s discovery: %w", d.Name(), err)
		}
	}
	return nil
}

// apply brings a configuration to life, instead of the old one if there is one.
// The scraping comes before the discovery: it must know the job of a target
// that it is told of.
func (c *Collector) apply(l *live, cfg Config, old *Config) error {
	// Only upstream's own loading makes a configuration that it accepts.
	up, err := config.Load("", c.logger)
	if err != nil {
		return fmt.Errorf("prepare the scraping: %w", err)
	}
	up.GlobalConfig, up.ScrapeConfigs, up.RemoteWriteConfigs = cfg.Global, cfg.ScrapeConfigs, cfg.RemoteWrite
	if cfg.Metrics.Keep == KeepNeeded && cfg.Metrics.Names != nil {
		up.ScrapeConfigs = only(cfg.Metrics.Names, cfg.ScrapeConfigs)
	}
	if old == nil || old.Metrics.Retention != cfg.Metrics.Retention {
		up.StorageConfig.ExemplarsConfig = &config.ExemplarsConfig{MaxExemplars: exemplars(cfg)}
		up.StorageConfig.TSDBConfig = &config.TSDBConfig{Retention: &config.TSDBRetentionConfig{Time: cfg.Metrics.Retention}}
		if err := l.db.ApplyConfig(up); err != nil {
			return fmt.Errorf("configure the storage: %w", err)
		}
	}
	if old == nil || !reflect.DeepEqual(old.RemoteWrite, cfg.RemoteWrite) || !reflect.DeepEqual(old.Global.ExternalLabels, cfg.Global.ExternalLabels) {
		if err := l.sender.ApplyConfig(up); err != nil {
			return fmt.Errorf("configure remote_write: %w", err)
		}
		c.sender.Store(nil)
		if len(cfg.RemoteWrite) > 0 {
			c.sender.Store(l.sender)
		}
	}
	if err := l.scraper.ApplyConfig(up); err != nil {
		return fmt.Errorf("configure the scraping: %w", err)
	}
	sources := make(map[string]discovery.Configs, len(cfg.ScrapeConfigs))
	for _, sc := range cfg.ScrapeConfigs {
		sources[sc.JobName] = sc.ServiceDiscoveryConfigs
		c.failures(sc.JobName)
	}
	if err := l.finder.ApplyConfig(sources); err != nil {
		return fmt.Errorf("configure the discovery of targets: %w", err)
	}
	c.filter.keep(cfg.Metrics.Keep == KeepNeeded)
	c.pushes.keep(time.Duration(cfg.Metrics.Retention))
	return nil
}
