package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/web"
)

// interactions is what takes clicks over HTTP, nil where nothing does.
func (p *parts) interactions() http.Handler {
	if p.desk == nil {
		return nil // not an interface that holds nil
	}
	return p.desk
}

// errNotTheirs marks a click that is not the clicker's to make. Its text is
// for them.
type errNotTheirs string

func (e errNotTheirs) Error() string { return string(e) }

// click judges what somebody pressed in Slack: whose it is, whether it was
// used before, whether it belongs to the message, whether they may. What it
// asks for is then asked of the part that decides, with all guards, under the
// person's name. Each click is in the journal before anything comes of it, and
// each refusal is too.
func (p *parts) click(ctx context.Context, c slack.Click) string {
	who, known := p.cfg.inSlack(c.User)
	name := who.Name
	if !known {
		name = "slack:" + c.User
	}
	stream := "click/" + c.ID
	audit := func(expect belay.Seq, reason string) error {
		_, err := p.base.journal.Append(ctx, stream, expect, belay.Event{At: time.Now(), Kind: belay.KindClick, Actor: name, Reason: reason})
		return err
	}
	switch err := audit(0, fmt.Sprintf("%s pressed %s (%s)", name, c.Action.Name(), c.Subject)); {
	case errors.Is(err, belay.ErrConflict):
		return "This click was used already; nothing was done again."
	case err != nil:
		return "Nothing was done: Belay cannot write its journal."
	}
	answer, err := p.press(ctx, c, who, known)
	if err == nil {
		return answer
	}
	why := strings.TrimPrefix(err.Error(), rollback.ErrRefused.Error()+": ")
	if err := audit(belay.AnySeq, fmt.Sprintf("%s by %s was refused: %s", c.Action.Name(), name, why)); err != nil {
		p.log.Error("journal the refusal of a click", "error", err)
	}
	return "Nothing was done: " + why + "."
}

// press does what a click asks for, or says why not.
func (p *parts) press(ctx context.Context, c slack.Click, who web.Person, known bool) (string, error) {
	if c.Foreign != "" {
		return "", errNotTheirs(c.Foreign)
	}
	if !known {
		return "", errNotTheirs("Belay's configuration names no person with your Slack id " + c.User + " (people)")
	}
	rb, isRollback := p.base.view.Rollback(c.Subject)
	incident := c.Subject
	if isRollback {
		incident = rb.Incident
	}
	if _, ok := p.base.view.Incident(incident); !ok || isRollback != (c.Action == slack.Approve || c.Action == slack.Deny || c.Action == slack.Stop) {
		return "", errNotTheirs("what this button is about has expired")
	}
	if !p.posted(incident, c.Ref()) {
		return "", errNotTheirs("it was not pressed in Belay's message about this incident")
	}
	switch c.Action {
	case slack.Approve:
		return p.pressApprove(ctx, c, who, rb)
	case slack.Deny:
		return "The rollback is denied; nothing will be changed.", p.rollback.Stop(ctx, rb.ID, who.Name, c.Words)
	case slack.Stop:
		return "The rollback is stopped; nothing was changed.", p.rollback.Stop(ctx, rb.ID, who.Name, "")
	case slack.Acknowledge:
		return "You have acknowledged this incident.", p.incidents.Ack(ctx, incident, who.Name)
	case slack.Silence:
		return p.pressSilence(ctx, incident, who)
	case slack.Note:
		return "Your note is in the incident's story.", p.incidents.Note(ctx, incident, who.Name, c.Words)
	}
	return "", fmt.Errorf("there is no action %s", c.Action)
}

// pressApprove is approve with what holds in Slack alone: a service that names
// no approvers has none there, and the plan must be the one that was shown.
func (p *parts) pressApprove(ctx context.Context, c slack.Click, who web.Person, rb belay.Rollback) (string, error) {
	s, _ := p.cfg.serviceOf(rb.Target.Service)
	if len(s.Approvers) == 0 {
		return "", errNotTheirs(fmt.Sprintf("nobody may approve for %s in Slack: its owners.approvers are empty", rb.Target.Service))
	}
	if c.Plan == "" {
		return "", errNotTheirs("the button names no plan")
	}
	err := p.approve(ctx, rb.ID, c.Plan, who.Name)
	if errors.Is(err, rollback.ErrRefused) && rb.ApprovedBy != "" {
		return "", fmt.Errorf("%w: %s approved it already", rollback.ErrRefused, rb.ApprovedBy)
	}
	return fmt.Sprintf("You have approved going back from %s to %s. All guards are asked once more first.", rb.From, rb.To), err
}

// pressSilence mutes the rules that an incident's alerts come from, for its
// service alone.
func (p *parts) pressSilence(ctx context.Context, incident string, who web.Person) (string, error) {
	story, _ := p.base.view.Incident(incident)
	i := story.Incident
	now := time.Now()
	s, known := p.cfg.serviceOf(i.Service)
	if !known {
		return "", errNotTheirs(fmt.Sprintf("%s is no service of the configuration any more", i.Service))
	}
	var rules []string
	for _, a := range i.Alerts {
		if a.State == belay.AlertInactive || slices.Contains(rules, a.Rule) {
			continue
		}
		rules = append(rules, a.Rule)
		matchers := []string{fmt.Sprintf("alertname=%q", a.Rule)}
		for _, name := range slices.Sorted(maps.Keys(s.Match)) {
			matchers = append(matchers, fmt.Sprintf("%s=%q", name, s.Match[name]))
		}
		_, err := p.silences.Set(ctx, belay.Silence{
			Matchers: matchers, StartsAt: now, EndsAt: now.Add(time.Hour), CreatedBy: who.Name, Comment: "silenced in Slack, for incident " + i.ID,
		})
		if err != nil {
			return "", err
		}
	}
	if len(rules) == 0 {
		return "", errNotTheirs("none of its alerts fires any more")
	}
	return fmt.Sprintf("%s is silenced for %s until %s. A rollback that it leads to needs an approval now.",
		strings.Join(rules, ", "), s.ID, alerting.Clock(now.Add(time.Hour), now)), nil
}

// A watchman writes down requests that Slack did not vouch for, once a minute
// at most: whoever sends them shall not fill the journal.
type watchman struct {
	mu    sync.Mutex
	last  time.Time
	since int // requests that were not written down
}

const watchmanRests = time.Minute

// strange journals that somebody sent what no click in Slack leads to.
func (b *base) strange(reason string) {
	now := time.Now()
	b.watchman.mu.Lock()
	b.watchman.since++
	if now.Sub(b.watchman.last) < watchmanRests {
		b.watchman.mu.Unlock()
		return
	}
	n := b.watchman.since
	b.watchman.last, b.watchman.since = now, 0
	b.watchman.mu.Unlock()
	_, err := b.journal.Append(b.ctx, "clicks/refused", belay.AnySeq, belay.Event{
		At: now, Kind: belay.KindClick, Reason: fmt.Sprintf("%d interaction(s) were refused before anybody was asked; the last one because %s", n, reason),
	})
	if err != nil {
		b.p.log.Error("journal a refused interaction", "error", err)
	}
}

// posted says whether a message is Belay's own about an incident.
func (p *parts) posted(incident, ref string) bool {
	return len(p.base.view.Deliveries(1, func(d belay.Delivery) bool { return d.Incident == incident && d.Ref == ref })) > 0
}

// inSlack returns whose id that is in Slack.
func (c *Config) inSlack(id string) (web.Person, bool) {
	people := c.Web.People()
	i := slices.IndexFunc(people, func(p web.Person) bool { return p.Slack != "" && p.Slack == id })
	if i < 0 {
		return web.Person{}, false
	}
	return people[i], true
}
