package web

import (
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belaydev/belay"
)

// counts are the counters that the journal adds up to: they survive a restart,
// since they are read from the journal again.
type counts struct {
	deployments map[deploymentCount]float64
	incidents   map[incidentCount]float64
	rollbacks   map[rollbackCount]float64
	vetoes      map[string]float64
	recovery    map[belay.ServiceID]*recovery
}

type deploymentCount struct {
	service belay.ServiceID
	result  string
}

type incidentCount struct {
	service  belay.ServiceID
	severity string
}

type rollbackCount struct {
	service belay.ServiceID
	mode    belay.Mode
	result  belay.RollbackState
}

// recovery is a histogram of how long services were unwell.
type recovery struct {
	count   uint64
	sum     float64
	buckets []uint64 // cumulative, by recoveryBuckets
}

// recoveryBuckets are upper bounds in seconds: from what Belay does alone to
// what takes people a day.
func recoveryBuckets() []float64 {
	return []float64{10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400}
}

func newCounts() counts {
	return counts{
		deployments: map[deploymentCount]float64{},
		incidents:   map[incidentCount]float64{},
		rollbacks:   map[rollbackCount]float64{},
		vetoes:      map[string]float64{},
		recovery:    map[belay.ServiceID]*recovery{},
	}
}

func (c *counts) recovered(s belay.ServiceID, took time.Duration) {
	h := c.recovery[s]
	if h == nil {
		h = &recovery{buckets: make([]uint64, len(recoveryBuckets()))}
		c.recovery[s] = h
	}
	seconds := max(0, took.Seconds())
	h.count++
	h.sum += seconds
	for i, le := range recoveryBuckets() {
		if seconds <= le {
			h.buckets[i]++
		}
	}
}

// The states of a service, from well to worst; see stateOf.
const (
	stateHealthy     = "healthy"
	statePending     = "pending"
	stateUnknown     = "unknown"
	stateIncident    = "incident"
	stateRollingBack = "rolling_back"
)

func serviceStates() []string {
	return []string{stateHealthy, statePending, stateUnknown, stateIncident, stateRollingBack}
}

// Collector returns the metrics of Belay's state: what runs, what is wrong and
// what was done about it. They are read at each scrape.
func (s *Server) Collector() prometheus.Collector { return &collector{server: s, desc: descriptions()} }

type collector struct {
	server *Server
	desc   map[string]*prometheus.Desc
}

func descriptions() map[string]*prometheus.Desc {
	all := map[string]*prometheus.Desc{}
	add := func(name, help string, labels ...string) {
		all[name] = prometheus.NewDesc(name, help, labels, nil)
	}
	add("belay_build_info", "Always 1; the labels tell what was built.", "version", "goversion")
	add("belay_service_info", "Always 1; the labels tell what runs.", "service", "environment", "platform", "revision", "version")
	add("belay_service_state", "1 for the state that a service is in, 0 for the others.", "service", "environment", "state")
	add("belay_deployments_total", "Deployments that ended, by result.", "service", "environment", "result")
	add("belay_deployment_timestamp_seconds", "Unix time at which the running content was deployed.", "service", "environment")
	add("belay_alerts", "Alerts by state.", "alertname", "service", "state")
	add("belay_incidents_open", "Incidents that are not resolved.", "service", "environment", "severity")
	add("belay_incidents_total", "Incidents that were opened.", "service", "environment", "severity")
	add("belay_rollbacks_total", "Rollbacks that ended, by result.", "service", "environment", "mode", "result")
	add("belay_rollback_vetoes_total", "Rollbacks that a guard refused.", "guard")
	add("belay_revision_held", "1 for each revision that is held back because an incident was attributed to it.", "service", "environment", "revision")
	add("belay_rolled_back", "1 while a service runs what a rollback of Belay put there.", "service", "environment")
	add("belay_recovery_seconds", "Time from the opening of an incident until the service was well again.", "service", "environment")
	add("belay_outbox_depth", "Messages that wait to be delivered.")
	add("belay_outbox_oldest_seconds", "Age of the oldest message that waits to be delivered, 0 when none does.")
	return all
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.gauge(out, "belay_build_info", 1, c.server.opts.Version, runtime.Version())
	services := c.server.statuses()
	for _, s := range services {
		c.service(out, s)
	}
	c.alerts(out, services)
	c.incidentsOpen(out)
	c.counted(out)
	depth, oldest := c.server.outbox()
	c.gauge(out, "belay_outbox_depth", float64(depth))
	c.gauge(out, "belay_outbox_oldest_seconds", oldest.Seconds())
}

func (c *collector) gauge(out chan<- prometheus.Metric, name string, v float64, values ...string) {
	out <- prometheus.MustNewConstMetric(c.desc[name], prometheus.GaugeValue, v, clean(values)...)
}

func (c *collector) counter(out chan<- prometheus.Metric, name string, v float64, values ...string) {
	out <- prometheus.MustNewConstMetric(c.desc[name], prometheus.CounterValue, v, clean(values)...)
}

// clean makes label values valid, whatever a platform or a pipeline sent.
func clean(values []string) []string {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\ufffd")
	}
	return values
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *collector) service(out chan<- prometheus.Metric, s ServiceStatus) {
	name, env := s.Service.Name, s.Service.Environment
	c.gauge(out, "belay_service_info", 1, name, env, s.Platform, s.Running.Content.Short(), s.Running.Version)
	for _, state := range serviceStates() {
		c.gauge(out, "belay_service_state", truth(state == s.State), name, env, state)
	}
	if !s.Since.IsZero() {
		c.gauge(out, "belay_deployment_timestamp_seconds", float64(s.Since.UnixMilli())/1000, name, env)
	}
	c.gauge(out, "belay_rolled_back", truth(s.RolledBack), name, env)
	seen := map[string]bool{} // two contents may share a short hash; one series tells of both
	for _, l := range s.Ledger {
		if rev := l.Revision.Content.Short(); l.Held && !seen[rev] {
			seen[rev] = true
			c.gauge(out, "belay_revision_held", 1, name, env, rev)
		}
	}
}

func (c *collector) alerts(out chan<- prometheus.Metric, services []ServiceStatus) {
	type key struct{ name, service, state string }
	n := map[key]float64{}
	for _, a := range c.server.alerts() {
		service := a.Labels.Get("service")
		for _, s := range services {
			if matches(s.Match, a.Labels) {
				service = s.Service.Name
				break
			}
		}
		n[key{a.Rule, service, string(a.State)}]++
	}
	for k, v := range n {
		c.gauge(out, "belay_alerts", v, k.name, k.service, k.state)
	}
}

func (c *collector) incidentsOpen(out chan<- prometheus.Metric) {
	n := map[incidentCount]float64{}
	for _, s := range c.server.opts.Services {
		n[incidentCount{s.ID, "critical"}], n[incidentCount{s.ID, "warning"}] = 0, 0
	}
	for _, i := range c.server.opts.View.Incidents(0, isOpen) {
		n[incidentCount{i.Service, i.Severity}]++
	}
	for k, v := range n {
		c.gauge(out, "belay_incidents_open", v, k.service.Name, k.service.Environment, k.severity)
	}
}

// counted emits the counters, which begin at 0 for each service so that the
// first increase can be seen.
func (c *collector) counted(out chan<- prometheus.Metric) {
	n := c.server.opts.View.countsFor(c.server.opts.Services)
	for k, v := range n.deployments {
		c.counter(out, "belay_deployments_total", v, k.service.Name, k.service.Environment, k.result)
	}
	for k, v := range n.incidents {
		c.counter(out, "belay_incidents_total", v, k.service.Name, k.service.Environment, k.severity)
	}
	for k, v := range n.rollbacks {
		c.counter(out, "belay_rollbacks_total", v, k.service.Name, k.service.Environment, string(k.mode), string(k.result))
	}
	for _, guard := range c.server.opts.Guards {
		n.vetoes[guard] += 0
	}
	for guard, v := range n.vetoes {
		c.counter(out, "belay_rollback_vetoes_total", v, guard)
	}
	for s, h := range n.recovery {
		buckets := map[float64]uint64{}
		for i, le := range recoveryBuckets() {
			buckets[le] = h.buckets[i]
		}
		out <- prometheus.MustNewConstHistogram(c.desc["belay_recovery_seconds"], h.count, h.sum, buckets, s.Name, s.Environment)
	}
}

// countsFor returns a copy of the counts, with zeros for what the services
// may come to count.
func (v *View) countsFor(services []ServiceInfo) counts {
	n := newCounts()
	for _, s := range services {
		for _, result := range []string{"succeeded", "failed", "rolled_back"} {
			n.deployments[deploymentCount{s.ID, result}] = 0
		}
		for _, severity := range []string{"critical", "warning"} {
			n.incidents[incidentCount{s.ID, severity}] = 0
		}
		for _, state := range []belay.RollbackState{
			belay.RollbackRecovered, belay.RollbackNotRecovered, belay.RollbackFailed,
			belay.RollbackSuperseded, belay.RollbackFought, belay.RollbackStopped,
		} {
			n.rollbacks[rollbackCount{s.ID, s.Mode, state}] = 0
		}
		n.recovery[s.ID] = &recovery{buckets: make([]uint64, len(recoveryBuckets()))}
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	copyInto(n.deployments, v.counts.deployments)
	copyInto(n.incidents, v.counts.incidents)
	copyInto(n.rollbacks, v.counts.rollbacks)
	copyInto(n.vetoes, v.counts.vetoes)
	for s, h := range v.counts.recovery {
		n.recovery[s] = &recovery{count: h.count, sum: h.sum, buckets: append([]uint64(nil), h.buckets...)}
	}
	return n
}

func copyInto[K comparable](to, from map[K]float64) {
	for k, v := range from {
		to[k] = v
	}
}
