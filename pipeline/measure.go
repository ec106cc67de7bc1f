package pipeline

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/source"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/web"
	"github.com/belaydev/belay/web/promapi"
)

// openSource opens what metrics.source names, nil without one.
func openSource(cfg Config) (*source.Source, error) {
	if cfg.Collector.Metrics.Source == nil {
		return nil, nil //nolint:nilnil // none is a fine answer
	}
	return source.New(*cfg.Collector.Metrics.Source, source.Options{})
}

// queryable is where samples are read: the source that the configuration
// names, or what Belay itself has collected.
func (p *parts) queryable() storage.Queryable {
	if p.source != nil {
		return p.source
	}
	return p.base.collector
}

// selectors are all that something of this configuration can read.
func (c *Config) selectors() [][]*labels.Matcher {
	var all [][]*labels.Matcher
	for _, g := range c.Rules.Groups {
		for _, r := range g.Rules {
			for _, e := range []parser.Expr{r.Expr, r.ResolveWhen} {
				if e != nil {
					all = append(all, parser.ExtractSelectors(e)...)
				}
			}
		}
	}
	return all
}

// needed tells which series something of this configuration can read.
func (c *Config) needed() func(labels.Labels) bool { return collector.NeededBy(c.selectors()) }

// GCPercent is how much garbage may gather before it is collected, in percent
// of what is in use; see debug.SetGCPercent. Prometheus has 75. Who keeps only
// what is needed wants little memory more than the last bit of CPU.
func (c *Config) GCPercent() int { return collector.GCPercent(c.Collector) }

// collecting is what the collector is configured with: its own keys, and what
// the rest of the configuration reads.
func (c *Config) collecting() collector.Config {
	out := c.Collector
	out.Metrics.Names = collector.NamesOf(c.selectors())
	return out
}

// kept is what `keep: needed` left out.
func (p *parts) kept() web.KeptInfo {
	t := p.base.collector.Tally()
	return web.KeptInfo{Needed: p.cfg.Collector.Metrics.Keep == collector.KeepNeeded, Stored: t.Stored, LeftOut: t.LeftOut}
}

// prometheusAPI serves what Prometheus serves under the same addresses.
func (p *parts) prometheusAPI(registry *prometheus.Registry) http.Handler {
	c := p.base.collector
	external, _ := url.Parse(p.cfg.Global.ExternalURL) // it was parsed for the rules
	text, err := p.cfg.Show()
	if err != nil {
		text = []byte(fmt.Sprintf("# %v\n", err))
	}
	return promapi.New(promapi.Options{
		Forwarded: p.forwarded(),
		Queryable: p.queryable(), Appendable: c.Receiver(), DB: c.DB, Scraping: c.Scraper,
		Rules: func() []promapi.Group { return promGroups(p.engine.Groups()) },
		Ready: p.ready, Config: func() string { return string(text) }, Gatherer: registry,
		Runtime: func() promapi.Runtime {
			at, failed := p.base.reloads.state()
			return promapi.Runtime{Started: p.base.started, ConfigLoaded: at, ConfigFailed: failed, RetentionText: p.cfg.Collector.Metrics.Retention.String()}
		},
		Version: p.base.p.opts.Version, ExternalLabels: p.cfg.Collector.Global.ExternalLabels, ExternalURL: external,
		ListenAddress: p.cfg.Web.Listen, ScrapeInterval: time.Duration(p.cfg.Collector.Global.ScrapeInterval),
		EvaluationInterval: time.Duration(p.cfg.Collector.Global.EvaluationInterval), Logger: p.log,
	})
}

// forwarded tells to which Alertmanagers alerts go as well.
func (p *parts) forwarded() v1.AlertmanagerRetriever {
	if p.forward == nil {
		return nil
	}
	return p.forward
}

// promGroups puts the state of rules into the words of Prometheus's API.
func promGroups(groups []rules.GroupStatus) []promapi.Group {
	out := make([]promapi.Group, len(groups))
	for i, g := range groups {
		out[i] = promapi.Group{
			Name: g.Name, File: g.File, Interval: g.Interval, Limit: g.Limit, LastEvaluation: g.LastEvaluation, Duration: g.Duration,
		}
		for _, r := range g.Rules {
			out[i].Rules = append(out[i].Rules, promapi.Rule{
				Name: r.Name, Recording: r.Recording, Query: r.Query, For: r.For, KeepFiringFor: r.KeepFiringFor,
				Labels: r.Labels, Annotations: r.Annotations, Health: r.Health, LastError: r.LastError, State: r.State,
				LastEvaluation: r.LastEvaluation, Duration: r.Duration, Alerts: r.Alerts,
			})
		}
	}
	return out
}

// evaluations are the last ones of a rule, as the pages show them.
func evaluations(r rules.RuleStatus) []web.EvaluationInfo {
	out := make([]web.EvaluationInfo, len(r.Evaluations))
	for i, e := range r.Evaluations {
		out[i] = web.EvaluationInfo{At: e.At, Duration: e.Duration, Found: e.Found, Series: e.Series, Error: e.Error, Query: e.Query}
		if len(e.Values) > 0 {
			out[i].Value = e.Values[0].Value
		}
		for _, v := range []belay.Verdict{belay.Fail, belay.Unknown, belay.Pass} { // the worst first
			if e.Verdicts[v] > 0 {
				out[i].Verdict = v
				break
			}
		}
	}
	return out
}

// flapping are alerts that change too often to be believed, a sentence each.
func (p *parts) flapping() []string {
	var out []string
	for _, g := range p.engine.Groups() {
		for _, r := range g.Rules {
			for _, f := range r.Flapping {
				out = append(out, fmt.Sprintf("%s flaps: %d changes within %s (%s)", r.Name, f.Changes, f.Window, f.Labels))
			}
		}
	}
	slices.Sort(out)
	return out
}
