package review

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// This file takes in events other than those of alerts.

func (b *builder) incident(ev *belay.Event) {
	if ev.Incident.ID != b.id {
		return
	}
	switch ev.Kind {
	case belay.KindOpened:
		b.tell(ev.At, "incident", "Incident opened: "+ev.Reason)
	case belay.KindJoined:
		b.tell(ev.At, "incident", "Another alert joined: "+ev.Reason)
	case belay.KindAcked:
		b.tell(ev.At, "incident", "Acknowledged by a person")
	case belay.KindAssigned, belay.KindRated:
		b.tell(ev.At, "incident", ev.Reason)
	case belay.KindNoted:
		b.tell(ev.At, "note", "Note: "+ev.Reason)
	case belay.KindReopened:
		b.tell(ev.At, "incident", "Incident goes on: "+ev.Reason)
	case belay.KindResolved:
		b.tell(ev.At, "incident", "Incident resolved: "+ev.Reason)
	}
}

func (b *builder) rollback(ev *belay.Event) {
	rb := *ev.Rollback
	if rb.Incident != b.id {
		return
	}
	at := b.rollbacks[rb.ID]
	if at == nil {
		at = &Attempt{}
		b.rollbacks[rb.ID] = at
		b.rolled = append(b.rolled, rb.ID)
	}
	at.Rollback = b.faceless(rb)
	reason := b.impersonal(ev.Reason)
	if ev.Kind == belay.KindRefused || rb.State == belay.RollbackRefused {
		if again := at.refuse(ev.At.UTC(), reason, at.Rollback.Answers); !again {
			b.tell(ev.At, "rollback", "Rollback refused: "+reason)
		}
		return
	}
	at.Phases = append(at.Phases, Phase{rb.State, ev.At.UTC(), reason, ev.Actor != ""})
	b.tell(ev.At, "rollback", phrase(ev.Kind, rb)+": "+reason)
}

// faceless returns the rollback without the people in it.
func (b *builder) faceless(rb belay.Rollback) belay.Rollback {
	if rb.ApprovedBy != "" {
		rb.ApprovedBy = "a person"
	}
	if rb.OrderedBy != "" {
		rb.OrderedBy = "a person"
	}
	rb.Reason = b.impersonal(rb.Reason)
	rb.Answers = slices.Clone(rb.Answers)
	for i := range rb.Answers {
		rb.Answers[i].Veto, rb.Answers[i].Says = b.impersonal(rb.Answers[i].Veto), b.impersonal(rb.Answers[i].Says)
	}
	rb.Suspects = slices.Clone(rb.Suspects)
	for i := range rb.Suspects {
		rb.Suspects[i].Deployment.Actor = ""
		rb.Suspects[i].Why = b.impersonal(rb.Suspects[i].Why)
	}
	return rb
}

// refuse counts a refusal and says whether its reason was told before.
func (a *Attempt) refuse(at time.Time, reason string, answers []belay.Answer) bool {
	for i := range a.Refusals {
		if r := &a.Refusals[i]; r.Reason == reason {
			r.Last, r.Times = at, r.Times+1
			return true
		}
	}
	var vetoes []belay.Answer
	for _, x := range answers {
		if x.Veto != "" {
			vetoes = append(vetoes, x)
		}
	}
	a.Refusals = append(a.Refusals, Refusal{at, at, 1, reason, vetoes})
	return false
}

func phrase(k belay.Kind, rb belay.Rollback) string {
	to := rb.From.String() + " → " + rb.To.String()
	switch k {
	case belay.KindPlanned:
		return "Rollback planned, " + to
	case belay.KindProposed:
		return "Rollback proposed for approval, " + to
	case belay.KindApproved:
		return "Rollback approved by a person, " + to
	case belay.KindCountdown:
		return "Countdown to the rollback"
	case belay.KindOrdered:
		return "Rollback ordered by a person, " + to
	case belay.KindStop:
		return "Rollback stopped"
	case belay.KindIntent:
		return "Rollback begins, " + to
	case belay.KindActed:
		return "Platform accepted the rollback"
	case belay.KindConverged:
		return "Rollout converged"
	case belay.KindHealthy:
		return "First proof of health"
	case belay.KindUnhealthy:
		return "Proof broken"
	case belay.KindRecovered:
		return "Recovery proved"
	}
	return "Rollback " + strings.ReplaceAll(string(rb.State), "_", " ")
}

func (b *builder) deployment(ev *belay.Event) {
	dep := *ev.Deployment
	if !b.mine(dep.Service) || !b.recent(dep.StartedAt) {
		return
	}
	dep.Actor = ""
	i, known := b.deployments[dep.ID]
	before := belay.Deployment{}
	if known {
		before = b.d.Deployments[i]
		b.d.Deployments[i] = dep
	} else {
		b.deployments[dep.ID] = len(b.d.Deployments)
		b.d.Deployments = append(b.d.Deployments, dep)
		what := "Deployment"
		if dep.Operation != "" {
			what = "Deployment by Belay"
		}
		change := fmt.Sprintf("%s: %s → %s", what, dep.From, dep.To)
		if dep.From.Content == "" {
			change = fmt.Sprintf("%s runs; Belay sees it for the first time", dep.To)
		}
		b.tell(dep.StartedAt, "change", change)
	}
	if dep.Result != "" && dep.Result != before.Result && dep.Result != "succeeded" {
		b.tell(ev.At, "change", fmt.Sprintf("Deployment of %s: %s", dep.To, strings.ReplaceAll(dep.Result, "_", " ")))
	}
	if ev.Kind == belay.KindPreexisting {
		b.tell(ev.At, "change", "Held content came back: "+ev.Reason)
	}
}

func (b *builder) ledger(ev *belay.Event) {
	e := ev.Ledger
	if !b.mine(e.Service) || ev.At.Before(b.inc.OpenedAt) || ev.At.After(b.until) {
		return
	}
	b.d.Ledger = append(b.d.Ledger, LedgerNote{ev.At.UTC(), *e, b.impersonal(ev.Reason)})
	if e.Standing == belay.Bad || e.Held {
		b.tell(ev.At, "rollback", fmt.Sprintf("Ledger: %s is held as %s", e.Revision, e.Standing))
	}
}

func (b *builder) delivery(ev *belay.Event) {
	v := ev.Delivery
	if v.Incident != b.id {
		return
	}
	arrived := v.Result == "sent" || v.Result == "adopted"
	if arrived && b.notified == nil {
		b.notified = ev
	}
	switch {
	case v.Result == "dead":
		b.tell(ev.At, "message", fmt.Sprintf("A message to %s was given up: %s", v.Destination, ev.Reason))
	case arrived && v.Kind == "parent":
		b.tell(ev.At, "message", "People told through "+v.Destination)
	}
}

// house tells what happened to Belay itself meanwhile.
func (b *builder) house(ev *belay.Event) {
	if ev.At.Before(b.inc.OpenedAt.Add(-lookback)) || ev.At.After(b.until) {
		return
	}
	switch ev.Kind {
	case belay.KindStarted, belay.KindStopped, belay.KindLostSight, belay.KindFoundSight, belay.KindKillSwitch, belay.KindConfigured:
		b.tell(ev.At, "belay", ev.Reason)
	default:
		return
	}
	switch ev.Kind {
	case belay.KindStarted:
		b.quality("Belay started at %s: what happened while it was away was seen only afterwards.", clock(ev.At))
	case belay.KindLostSight:
		b.quality("Belay lost sight at %s: %s", clock(ev.At), ev.Reason)
	}
}

func (b *builder) quality(format string, args ...any) {
	b.d.Quality = append(b.d.Quality, b.impersonal(fmt.Sprintf(format, args...)))
}
