// Package probe checks services from outside, as the blackbox exporter does and
// with its prober: http, tcp, dns, grpc and icmp. What a check finds becomes
// samples: probe_success, probe_duration_seconds and the prober's others, with
// the labels job="probe", instance, name and service.
package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"sync"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
)

// Options are what a Prober needs.
type Options struct {
	Appendable storage.AppendableV2 // takes the samples
	Logger     *slog.Logger         // nil discards
}

// A Prober runs probes, each at its own interval.
type Prober struct {
	opts Options

	mu      sync.Mutex
	probes  []Probe
	ctx     context.Context // nil unless running
	running map[string]*round
	done    sync.WaitGroup
}

// A round is a probe that is done again and again.
type round struct {
	probe   Probe
	module  blackbox.Module
	run     prober.ProbeFn
	p       *Prober
	stop    context.CancelFunc
	gone    bool // it was taken out of the configuration; guarded by p.mu
	written map[string]labels.Labels
}

// New makes a prober for probes as Load returns them. It starts nothing.
func New(probes []Probe, opts Options) (*Prober, error) {
	if opts.Appendable == nil {
		return nil, errors.New("probe: nothing that takes samples")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := Check(probes); err != nil {
		return nil, err
	}
	return &Prober{opts: opts, probes: probes, running: map[string]*round{}}, nil
}

// Check returns why New or Reload would refuse probes. It tries all that can
// fail, and sends nothing.
func Check(probes []Probe) error {
	for _, p := range probes {
		m, err := p.module()
		if err == nil {
			switch m.Prober {
			case "http":
				_, err = promconfig.NewClientFromConfig(m.HTTP.HTTPClientConfig, p.Name)
			case "tcp":
				_, err = promconfig.NewTLSConfig(&m.TCP.TLSConfig)
			case "grpc":
				_, err = promconfig.NewTLSConfig(&m.GRPC.TLSConfig)
			}
		}
		if err != nil {
			return fmt.Errorf("probe %s: %w", p.Name, err)
		}
	}
	return nil
}

// Run probes until ctx ends, and until the probes under way have ended.
func (p *Prober) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.start(p.probes)
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.ctx = nil
	p.mu.Unlock()
	p.done.Wait()
	return nil
}

// Reload replaces the probes, all or none. Those that stay the same go on; the
// series of those that leave end.
func (p *Prober) Reload(probes []Probe) error {
	if err := Check(probes); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes = probes
	if p.ctx == nil {
		return nil // Run takes them up
	}
	wanted := map[string]Probe{}
	for _, probe := range probes {
		wanted[probe.Name] = probe
	}
	for name, r := range p.running {
		if probe, ok := wanted[name]; ok && reflect.DeepEqual(probe, r.probe) {
			delete(wanted, name)
			continue
		}
		r.gone = true
		r.stop()
		delete(p.running, name)
	}
	var fresh []Probe
	for _, probe := range wanted {
		fresh = append(fresh, probe)
	}
	p.start(fresh)
	return nil
}

// start is called with mu held, on probes that are ready.
func (p *Prober) start(probes []Probe) {
	for _, probe := range probes {
		m, err := probe.module()
		if err != nil {
			continue // ready has refused it
		}
		ctx, stop := context.WithCancel(p.ctx)
		r := &round{probe: probe, module: m, run: prober.Probers[m.Prober], p: p, stop: stop, written: map[string]labels.Labels{}}
		p.running[probe.Name] = r
		p.done.Go(func() { r.loop(ctx) })
	}
}

func (r *round) loop(ctx context.Context) {
	defer r.stop()
	tick := time.NewTicker(time.Duration(r.probe.Interval))
	defer tick.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		found := r.once(ctx)
		if ctx.Err() != nil {
			break // cut short: it says nothing about the service
		}
		r.write(ctx, now, found)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	r.p.mu.Lock()
	gone := r.gone
	r.p.mu.Unlock()
	if gone {
		r.write(context.WithoutCancel(ctx), time.Now(), nil)
	}
}

// A sample is what a check found.
type sample struct {
	labels labels.Labels
	value  float64
}

// once checks once.
func (r *round) once(ctx context.Context) []sample {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.probe.Timeout))
	defer cancel()
	reg := prometheus.NewRegistry()
	start := time.Now()
	success := r.run(ctx, r.probe.target(), r.module, reg, r.p.opts.Logger.With("probe", r.probe.Name))
	took := time.Since(start)
	ok := 0.0
	if success {
		ok = 1
	}
	out := []sample{
		{r.labels("probe_success", nil), ok},
		{r.labels("probe_duration_seconds", nil), took.Seconds()},
	}
	families, err := reg.Gather()
	if err != nil {
		r.p.opts.Logger.Warn("a probe's own metrics are not consistent", "probe", r.probe.Name, "error", err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if v, ok := number(m); ok {
				out = append(out, sample{r.labels(f.GetName(), m.Label), v})
			}
		}
	}
	return out
}

func number(m *dto.Metric) (float64, bool) {
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue(), true
	case m.Counter != nil:
		return m.Counter.GetValue(), true
	case m.Untyped != nil:
		return m.Untyped.GetValue(), true
	}
	return 0, false
}

func (r *round) labels(name string, more []*dto.LabelPair) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, l := range more {
		b.Set(l.GetName(), l.GetValue())
	}
	b.Set(model.MetricNameLabel, name)
	b.Set(model.JobLabel, "probe")
	b.Set(model.InstanceLabel, r.probe.target())
	b.Set("name", r.probe.Name)
	if r.probe.Service != "" {
		b.Set("service", r.probe.Service)
	}
	return b.Labels()
}

// write stores what was found, and ends the series that were found before and
// are not now.
func (r *round) write(ctx context.Context, at time.Time, found []sample) {
	a := r.p.opts.Appendable.AppenderV2(ctx)
	now := make(map[string]labels.Labels, len(found))
	var err error
	add := func(ls labels.Labels, v float64) {
		if err == nil {
			_, err = a.Append(0, ls, 0, at.UnixMilli(), v, nil, nil, storage.AOptions{})
		}
	}
	for _, s := range found {
		now[s.labels.String()] = s.labels
		add(s.labels, s.value)
	}
	for key, ls := range r.written {
		if _, ok := now[key]; !ok {
			add(ls, math.Float64frombits(value.StaleNaN))
		}
	}
	if err != nil {
		err = errors.Join(err, a.Rollback())
	} else {
		err = a.Commit()
	}
	if err != nil {
		r.p.opts.Logger.Error("what a probe found could not be stored", "probe", r.probe.Name, "error", err)
		return
	}
	r.written = now
}
