package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/rollback/command/releases"
)

// An observation is what can be seen of a scene at one moment, from outside.
type observation struct {
	Events  []belay.Event       // of Belay's journal, those that are new
	Stints  []Stint             // of the load, all
	Changes []releases.Change   // of the platform's log, all
	Parents []slacktest.Message // that Slack holds, all
}

// A turn is one line of the story.
type turn struct {
	At        time.Time
	Who, Text string
}

// A witness remembers what it has seen of one incident. Its zero value has seen
// nothing.
type witness struct {
	fault Fault // that is played

	Good     map[string]time.Time // by version: when the ledger called it known good
	Fault    time.Time            // when customers first met what is wrong with the released version
	WellAt   time.Time            // the first good answer after the rollback
	Alert    belay.Alert          // the first that fired
	AlertAt  time.Time            //
	Incident belay.Incident       // the newest state of the first
	Rollback belay.Rollback       // the newest state of the newest that was more than a thought
	Message  time.Time            // Slack stored the parent
	Change   releases.Change      // of content, by an operation
	Review   belay.Review         //
	ReviewAt time.Time            //

	Incidents map[string]bool // that were opened, by id
	Rollbacks map[string]bool // that were decided, by id

	states           []state // of Belay's life, in order of the journal
	changes, parents int     // how many of each were told
	told             map[string]bool
}

// A state is what Belay's life was from a time on.
type state struct {
	at   time.Time
	name string
}

// stateAt says what Belay's life was at a time.
func (w *witness) stateAt(t time.Time) string {
	name := "while starting"
	for _, s := range w.states {
		if s.at.After(t) {
			break
		}
		name = s.name
	}
	return name
}

// note remembers the state that an event begins.
func (w *witness) note(e belay.Event) {
	name := ""
	switch {
	case e.Ledger != nil && e.Ledger.Standing != belay.Bad:
		name = string(e.Ledger.Standing)
	case e.Alert != nil && e.Alert.State != belay.AlertInactive:
		name = string(e.Alert.State)
	case e.Kind == belay.KindOpened, e.Kind == belay.KindResolved:
		name = string(e.Kind)
	case e.Rollback != nil:
		name = string(e.Rollback.State)
		if e.Kind == belay.KindHealthy {
			name = "healthy"
		}
	case e.Review != nil:
		name = "reviewed"
	}
	if name != "" {
		w.states = append(w.states, state{e.At, "when " + name})
	}
}

// see takes in what is new and returns what is worth telling, in order of time.
func (w *witness) see(o observation) []turn {
	if w.told == nil {
		w.Good, w.told = map[string]time.Time{}, map[string]bool{}
		w.Incidents, w.Rollbacks = map[string]bool{}, map[string]bool{}
	}
	turns := w.seeStints(o.Stints)
	turns = append(turns, w.seeChanges(o.Changes)...)
	turns = append(turns, w.seeParents(o.Parents)...)
	for _, e := range o.Events {
		w.note(e)
		if text, who := w.seeEvent(e); text != "" {
			turns = append(turns, turn{e.At, who, text})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return a.At.Compare(b.At) })
	return turns
}

// once says whether key is told for the first time.
func (w *witness) once(key string) bool {
	if w.told[key] {
		return false
	}
	w.told[key] = true
	return true
}

func (w *witness) seeStints(stints []Stint) (turns []turn) {
	for i, s := range stints {
		if w.once("first" + strconv.Itoa(i)) {
			text := s.Version + " takes over"
			switch i {
			case 0:
				text = "checkout " + s.Version + " answers"
			case 2:
				text = s.Version + " answers again"
			}
			turns = append(turns, turn{s.First, "shop", text})
		}
		if at := w.fault.since(s); s.Version == nextVersion && !at.IsZero() && w.once("fault") {
			w.Fault = at
			text := s.Version + " " + w.fault.began()
			if at.Equal(s.FirstBad) && s.Errors == 0 {
				text = s.Version + " does not answer any more"
			}
			turns = append(turns, turn{at, "fault", text})
		}
		if i > 0 && s.Version == goodVersion && s.Good > 0 && w.WellAt.IsZero() {
			w.WellAt = s.First
		}
	}
	return turns
}

func (w *witness) seeChanges(changes []releases.Change) (turns []turn) {
	for _, c := range changes[min(w.changes, len(changes)):] {
		w.changes++
		if c.By == releases.ByDeploy || c.By == releases.ByOutside {
			continue
		}
		if c.Repeat {
			turns = append(turns, turn{c.At, "platform", "was asked again, and had done it already"})
			continue
		}
		if w.Change.At.IsZero() {
			w.Change = c
		}
		turns = append(turns, turn{c.At, "platform", fmt.Sprintf("%s → %s", nameOf(c.From), nameOf(c.To))})
	}
	return turns
}

// nameOf returns the name in NAME@HASH.
func nameOf(tag string) string {
	name, _, _ := strings.Cut(tag, "@")
	return name
}

func (w *witness) seeParents(parents []slacktest.Message) (turns []turn) {
	for _, m := range parents[min(w.parents, len(parents)):] {
		w.parents++
		at := slackTime(m.TS)
		if w.Message.IsZero() {
			w.Message = at
		}
		turns = append(turns, turn{at, "slack", fmt.Sprintf("one message in #%s, edited in place from now on", channelName)})
	}
	return turns
}

// slackTime reads the time in a message's ts, to the microsecond.
func slackTime(ts string) time.Time {
	sec, frac, _ := strings.Cut(ts, ".")
	s, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}
	}
	us, err := strconv.ParseInt(frac, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(s, us*1000)
}

// seeEvent takes in one event of the journal and returns its words, "" when it
// is not worth a line.
func (w *witness) seeEvent(e belay.Event) (text, who string) {
	switch {
	case e.Kind == belay.KindLedger && e.Ledger != nil:
		return w.seeLedger(e)
	case e.Kind == belay.KindAlert && e.Alert != nil:
		return w.seeAlert(e)
	case e.Incident != nil:
		return w.seeIncident(e)
	case e.Rollback != nil:
		return w.seeRollback(e)
	case e.Kind == belay.KindReview && e.Review != nil:
		if w.Review.Incident == "" && e.Review.Incident == w.Incident.ID {
			w.Review, w.ReviewAt = *e.Review, e.At
			return "is written: " + reviewFile(e.Review.Files, ".md"), "review"
		}
	}
	return "", ""
}

func (w *witness) seeLedger(e belay.Event) (text, who string) {
	version := e.Ledger.Revision.Version
	if e.Ledger.Standing == belay.Good && w.once("good "+version) {
		w.Good[version] = e.At
		return e.Reason, "belay"
	}
	return "", ""
}

func (w *witness) seeAlert(e belay.Event) (text, who string) {
	a := *e.Alert
	if a.State != belay.AlertFiring || !w.once("alert "+a.ID) {
		return "", ""
	}
	if w.AlertAt.IsZero() {
		w.Alert, w.AlertAt = a, e.At
	}
	says := cmp.Or(a.Annotations["summary"], e.Reason)
	return fmt.Sprintf("%s fires: %s", a.Rule, says), "alert"
}

func (w *witness) seeIncident(e belay.Event) (text, who string) {
	i := *e.Incident
	w.Incidents[i.ID] = true
	if w.Incident.ID == "" || w.Incident.ID == i.ID {
		w.Incident = i
	}
	switch e.Kind {
	case belay.KindOpened:
		return "opens: " + i.Title, "incident"
	case belay.KindResolved:
		return fmt.Sprintf("the incident is over after %s", seconds(i.ResolvedAt.Sub(i.OpenedAt))), "resolved"
	}
	return "", ""
}

func (w *witness) seeRollback(e belay.Event) (text, who string) {
	r := *e.Rollback
	if r.State != belay.RollbackRefused {
		w.Rollbacks[r.ID] = true
	}
	if w.Rollback.ID == "" || w.Rollback.ID == r.ID || !w.Rollback.State.Acting() {
		w.Rollback = r
	}
	switch e.Kind {
	case belay.KindRefused:
		if w.once("refused " + e.Reason) {
			return "not yet: " + e.Reason, "refused"
		}
	case belay.KindCountdown:
		return fmt.Sprintf("go back to %s in %s, unless somebody stops it%s", r.To, seconds(r.VetoUntil.Sub(e.At)), because(r)), "decision"
	case belay.KindIntent:
		return "is on disk, before anything is touched", "intent"
	case belay.KindConverged:
		return "the platform says that " + r.To.String() + " runs", "converged"
	case belay.KindHealthy:
		return fmt.Sprintf("fresh data shows it well; that must hold for %s", seconds(r.RecoveryHold)), "healthy"
	case belay.KindUnhealthy, belay.KindStop, belay.KindEnded:
		return "the rollback: " + e.Reason, "refused"
	}
	return "", ""
}

// because names the best suspect of a rollback.
func because(r belay.Rollback) string {
	if len(r.Suspects) == 0 {
		return ""
	}
	return "; " + r.Suspects[0].Why
}

// done says whether the loop is closed: the incident is over, the rollback has
// proved itself, the review is there.
func (w *witness) done() bool {
	return w.Incident.State == belay.Resolved && w.Rollback.State == belay.RollbackRecovered && w.Review.Incident != ""
}

// hopeless says why the loop can never close any more, "" while it can.
func (w *witness) hopeless() string {
	s := w.Rollback.State
	if s.Terminal() && s != belay.RollbackRecovered {
		return fmt.Sprintf("the rollback ended as %s: %s", s, w.Rollback.Reason)
	}
	return ""
}

// seconds writes a duration as people read it: 12s, 4.2s, 1m30s.
func seconds(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	d = d.Round(100 * time.Millisecond)
	if d%time.Second == 0 {
		return strconv.Itoa(int(d/time.Second)) + "s"
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
