package web

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/belaydev/belay"
)

// A View is the journal read into memory: the present state of every noun and
// the story of each incident. It keeps the newest 1 000 of each noun, and
// longer what is still open. All methods may be called from any goroutine.
type View struct {
	journal belay.Journal
	log     *slog.Logger

	mu          sync.RWMutex
	seq         belay.Seq
	caughtUp    bool
	started     time.Time
	services    map[belay.ServiceID]*running
	deployments *recent[string, belay.Deployment]
	ledger      *recent[ledgerKey, belay.LedgerEntry]
	alerts      *recent[string, belay.Alert]
	incidents   *recent[string, *story]
	rollbacks   *recent[string, belay.Rollback]
	deliveries  *recent[deliveryKey, belay.Delivery]
	reviews     *recent[string, belay.Review]
	entries     *recent[belay.Seq, Entry] // of everything
	own         *recent[belay.Seq, Entry] // of Belay itself: starts, stops, lost sight, kill switch
	counts      counts
}

type ledgerKey struct {
	service belay.ServiceID
	content belay.Content
}

type deliveryKey struct{ destination, key string }

// running is what is known of a service's present content.
type running struct {
	revision   belay.Revision
	since      time.Time
	rolledBack bool  // Belay's own rollback put it there
	deployed   Entry // how the newest deployment began
}

// An Entry is an event in short: what happened, when, why and by whom.
type Entry struct {
	Seq     belay.Seq       `json:"seq"`
	At      time.Time       `json:"at"`
	Kind    belay.Kind      `json:"kind"`
	Service belay.ServiceID `json:"service,omitzero"`
	Reason  string          `json:"reason"`
	Actor   string          `json:"actor,omitempty"`
}

// NewView returns a View of nothing. Run fills it from the journal. A nil log
// discards.
func NewView(journal belay.Journal, log *slog.Logger) *View {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &View{
		journal:     journal,
		log:         log,
		services:    map[belay.ServiceID]*running{},
		deployments: newRecent[string](keepNewest, func(d belay.Deployment) bool { return d.Result == "" }),
		ledger:      newRecent[ledgerKey](keepNewest, func(l belay.LedgerEntry) bool { return l.Held }),
		alerts:      newRecent[string](keepNewest, func(a belay.Alert) bool { return a.State != belay.AlertInactive }),
		incidents:   newRecent[string](keepNewest, func(s *story) bool { return s.incident.State != belay.Resolved }),
		rollbacks:   newRecent[string](keepNewest, func(r belay.Rollback) bool { return !r.State.Terminal() }),
		deliveries:  newRecent[deliveryKey, belay.Delivery](keepNewest, nil),
		reviews:     newRecent[string, belay.Review](keepNewest, nil),
		entries:     newRecent[belay.Seq, Entry](keepNewest, nil),
		own:         newRecent[belay.Seq, Entry](keepNewest, nil),
		counts:      newCounts(),
	}
}

// tailRetry is how long Run waits before it reads a journal again that gave an
// error.
const tailRetry = time.Second

// Run reads the journal from its beginning and then follows it until ctx ends.
// When the journal cannot be read it says so and tries again: pages show what
// was known until then.
func (v *View) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := v.follow(ctx); err != nil && ctx.Err() == nil {
			v.log.Error("reading the journal for the pages", "error", err, "seq", int64(v.Seq()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(tailRetry):
		}
	}
	return nil
}

func (v *View) follow(ctx context.Context) error {
	if !v.CaughtUp() {
		for e, err := range v.journal.Read(ctx, v.Seq()) {
			if err != nil {
				return err
			}
			v.Apply(e)
		}
		if ctx.Err() == nil {
			v.mu.Lock()
			v.caughtUp = true
			v.mu.Unlock()
		}
	}
	for e, err := range v.journal.Tail(ctx, v.Seq()) {
		if err != nil {
			return err
		}
		v.Apply(e)
	}
	return nil
}

// Seq returns the position of the newest event that was applied.
func (v *View) Seq() belay.Seq {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.seq
}

// CaughtUp reports whether the whole journal, as it was at the start, has been
// read.
func (v *View) CaughtUp() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.caughtUp
}

// Apply folds one event into the view. Events must come in journal order; one
// that was applied before changes nothing.
func (v *View) Apply(e belay.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Seq <= v.seq {
		return
	}
	v.seq = e.Seq
	entry := Entry{Seq: e.Seq, At: e.At, Kind: e.Kind, Service: e.Service, Reason: e.Reason, Actor: e.Actor}
	switch {
	case e.Incident != nil:
		v.applyIncident(*e.Incident, entry)
	case e.Rollback != nil:
		v.applyRollback(*e.Rollback, entry)
	case e.Deployment != nil:
		v.applyDeployment(*e.Deployment, entry)
	case e.Delivery != nil:
		v.applyDelivery(*e.Delivery, entry)
	case e.Review != nil:
		v.reviews.put(e.Review.Incident, *e.Review)
		v.tell(e.Review.Incident, entry)
	case e.Ledger != nil:
		v.ledger.put(ledgerKey{e.Ledger.Service, e.Ledger.Revision.Content}, *e.Ledger)
	case e.Alert != nil:
		v.alerts.put(e.Alert.ID, *e.Alert)
	}
	v.applyOwn(e.Kind, entry)
	if e.Delivery == nil { // they outnumber all others and say little here
		v.entries.put(e.Seq, entry)
	}
}

func (v *View) applyOwn(kind belay.Kind, entry Entry) {
	switch kind {
	case belay.KindStarted:
		v.started = entry.At
	case belay.KindStopped, belay.KindConfigured, belay.KindLostSight, belay.KindFoundSight, belay.KindKillSwitch:
	default:
		return
	}
	v.own.put(entry.Seq, entry)
}

func (v *View) applyDeployment(d belay.Deployment, entry Entry) {
	old, _ := v.deployments.put(d.ID, d)
	if d.Result != "" && d.Result != old.Result {
		v.counts.deployments[deploymentCount{d.Service, d.Result}]++
	}
	s := v.service(d.Service)
	if !d.StartedAt.Before(s.since) {
		if old.ID == "" {
			s.deployed = entry
		}
		if d.To.Content != "" { // otherwise only announced: the platform will show what it is
			s.revision, s.since, s.rolledBack = d.To, d.StartedAt, d.Operation != ""
		}
	}
	for _, open := range v.incidents.items {
		if open.incident.Service == d.Service && open.incident.State != belay.Resolved {
			open.tell(entry)
		}
	}
}

func (v *View) service(id belay.ServiceID) *running {
	s := v.services[id]
	if s == nil {
		s = &running{}
		v.services[id] = s
	}
	return s
}

func (v *View) applyRollback(r belay.Rollback, entry Entry) {
	old, _ := v.rollbacks.put(r.ID, r)
	if r.State.Terminal() && old.State != r.State {
		v.counts.rollbacks[rollbackCount{r.Target.Service, r.Mode, r.State}]++
	}
	if entry.Kind == belay.KindRefused {
		if a, ok := vetoOf(r); ok {
			v.counts.vetoes[a.Guard]++
		}
	}
	if entry.Kind == belay.KindConverged {
		s := v.service(r.Target.Service)
		if !r.ConvergedAt.Before(s.since) {
			s.revision, s.since, s.rolledBack = r.To, r.ConvergedAt, true
		}
	}
	v.tell(r.Incident, entry)
}

// vetoOf returns the answer that ended a plan.
func vetoOf(r belay.Rollback) (belay.Answer, bool) {
	i := slices.IndexFunc(r.Answers, func(a belay.Answer) bool { return a.Veto != "" })
	if i < 0 {
		return belay.Answer{}, false
	}
	return r.Answers[i], true
}

func (v *View) applyDelivery(d belay.Delivery, entry Entry) {
	v.deliveries.put(deliveryKey{d.Destination, d.Key}, d)
	told := (d.Kind == "parent" || d.Kind == "emergency") && (d.Result == "sent" || d.Result == "adopted")
	if told || d.Result == "dead" {
		v.tell(d.Incident, entry)
	}
}

func (v *View) tell(incident string, entry Entry) {
	if s, ok := v.incidents.get(incident); ok {
		s.tell(entry)
	}
}
