package rollback

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// A Plan is everything that a decision rests on, read at one moment. Guards
// look at nothing else.
type Plan struct {
	Service  belay.ServiceID
	Policy   Policy
	Caps     Capabilities
	Person   string // who ordered it; "" when Belay would act on its own
	Approver string // who approved it, "" when nobody did
	Incident *belay.Incident

	Trigger    *belay.Alert    // the firing alert that may lead to a rollback
	Foreign    string          // why what the trigger rests on is not Belay's own, "" when it is
	Silenced   string          // why the trigger is silenced, "" when it is not
	Elsewhere  string          // the dependent whose incident this is about, "" when it is the service's own
	First      string          // why another service has to be seen to first, "" when none has
	Failures   int             // of the last Judgings judgements of the trigger on new data
	Judgings   int             //
	Suspects   []belay.Suspect // best first
	State      belay.State     // what the platform says runs now
	StateErr   error           // why it says nothing
	Latest     *belay.Deployment
	Ledger     map[belay.Content]belay.LedgerEntry
	Restorable []belay.Revision
	ListErr    error
	To         belay.Revision // zero when there is no way back

	Lag        time.Duration // how far Belay's own judging is behind
	MaxLag     time.Duration
	StaleAfter time.Duration // data older than this proves nothing
	KillSwitch bool
	Red        int // services with an open incident, this one included
	Services   int
	InFlight   int // rollbacks of other services under way
	LastHour   int // rollbacks begun in the last hour, all services
	RolledBack int // distinct services among them, this one not counted
	LastOwn    time.Time
	Acted      *belay.Rollback // an earlier rollback of the same content and epoch that reached the platform
}

// Suspect returns the best suspect, nil when there is none.
func (p *Plan) Suspect() *belay.Suspect {
	if len(p.Suspects) == 0 {
		return nil
	}
	return &p.Suspects[0]
}

// OperationID is the identity of a rollback: the same target, bad content and
// hold epoch are the same operation, however often it is decided (I1).
func OperationID(t belay.Target, bad belay.Content, epoch int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", t.Platform, t.Service, bad, epoch))
	return fmt.Sprintf("op-%x", sum[:8])
}

// A neighbour is a service that the failing one depends on.
type neighbour struct {
	running belay.Deployment // the newest
	ledger  map[belay.Content]belay.LedgerEntry
	red     bool // it has an incident of its own
}

// Weights of a suspect. By time alone a deployment loses up to half over the
// attribution window.
const (
	weightOwn      = 1.0 // of the failing service itself
	weightRed      = 0.9 // of one that it depends on, which fails as well
	weightAround   = 0.5 // of one that it depends on, which is well
	weightNotGreen = 0.7 // what ran before was not seen green: it may have been broken already
)

// suspects ranks the deployments that may have caused an alert: each began
// before the alert became active and inside the window. What counts is time
// (the nearer the likelier), scope (the service itself, or one it depends on)
// and evidence (green before; whether the dependency fails as well). Scores are
// between 0 and 1.
func suspects(own []belay.Deployment, ledger map[belay.Content]belay.LedgerEntry, around []neighbour, active time.Time, window time.Duration) []belay.Suspect {
	var out []belay.Suspect
	add := func(d belay.Deployment, ledger map[belay.Content]belay.LedgerEntry, weight float64, relation string) {
		before := active.Sub(d.StartedAt)
		if before < 0 || before > window || d.From.Content == "" {
			return
		}
		why := fmt.Sprintf("%s%s began %s before the alert", relation, d.To, readable(before))
		if st := ledger[d.From.Content].Standing; st != belay.Good && st != belay.Soaking {
			weight *= weightNotGreen
			why += fmt.Sprintf(", but %s, which ran before, was not seen green", d.From)
		}
		out = append(out, belay.Suspect{Deployment: d, Score: weight * (1 - 0.5*before.Seconds()/window.Seconds()), Why: why})
	}
	own = slices.DeleteFunc(slices.Clone(own), func(d belay.Deployment) bool { return d.To.Content == "" })
	for i, d := range own {
		if i+1 < len(own) && !own[i+1].StartedAt.After(active) {
			continue // replaced before the damage began
		}
		add(d, ledger, weightOwn, "")
	}
	for _, n := range around {
		weight, relation := weightAround, "depends on "+n.running.Service.Name+", whose "
		if n.red {
			weight, relation = weightRed, "depends on "+n.running.Service.Name+", which fails as well, and whose "
		}
		add(n.running, n.ledger, weight, relation)
	}
	slices.SortStableFunc(out, func(a, b belay.Suspect) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	return out
}

// wayBack picks the revision to return to: the newest known good one that is
// not what runs now and that the platform can still restore. Assumed ones are
// no way back for a machine. With none restorable it returns the newest known
// good one and why it cannot be had.
func wayBack(running belay.Content, ledger map[belay.Content]belay.LedgerEntry, restorable []belay.Revision) (belay.Revision, bool) {
	var good []belay.LedgerEntry
	for c, e := range ledger {
		if c != running && e.Standing == belay.Good && !e.Held {
			good = append(good, e)
		}
	}
	slices.SortFunc(good, func(a, b belay.LedgerEntry) int { return b.Since.Compare(a.Since) })
	for _, e := range good {
		for _, r := range restorable {
			if r.Content == e.Revision.Content && !r.Missing {
				if r.Version == "" {
					r.Version = e.Revision.Version
				}
				return r, true
			}
		}
	}
	if len(good) > 0 {
		return good[0].Revision, false
	}
	return belay.Revision{}, false
}

// readable writes a duration for people, to the second.
func readable(d time.Duration) string {
	if d < time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}
