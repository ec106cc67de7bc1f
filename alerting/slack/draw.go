package slack

import (
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// A drawing is a message as Slack takes it, in three richnesses.
type drawing struct {
	key    string
	text   string        // everything that matters, for notifications, screen readers and refused blocks
	all    []slack.Block // the whole message
	plain  []slack.Block // the whole message without its picture; nil where it has none
	needed []slack.Block // without what it can do without
	aloud  bool          // a reply that the channel shows as well: its thread was thought to be over
}

// draw lays a message out, with buttons where somebody takes what they ask for.
// It keeps all of Slack's limits whatever the message holds, and calls nobody.
func draw(m alerting.Message, interactive bool) drawing {
	var d drawing
	if m.Kind == alerting.Reply {
		d = drawReply(m)
	} else {
		d = drawParent(m)
	}
	if interactive {
		pressed := buttons(m)
		d.all, d.needed = slices.Concat(d.all, pressed), slices.Concat(d.needed, pressed)
	}
	d.key = m.Key
	d.aloud = m.Kind == alerting.Reply && m.Event.Kind == belay.KindReopened
	if len(d.all) > maxBlocks || weight(d.all) > maxAll {
		d.all = d.needed
	}
	return d
}

// drawParent shows an incident as it is now: what broke, since which release,
// what Belay will do or how it ended, then the facts.
func drawParent(m alerting.Message) drawing {
	light := signal(m)
	wrong := markup(alerting.Summary(m), shareSentence)
	suspect := markup(strings.TrimPrefix(alerting.Suspect(m), "suspect: "), shareSentence)
	title, then := "Next", markup(alerting.Next(m), shareSentence)
	if m.Incident.State == belay.Resolved {
		title, then = "Outcome", markup(alerting.Outcome(m), shareSentence)
	}
	top := []slack.Block{header(words(light, m.Incident.Title)), section(wrong)}
	next := titled(title, then)
	return drawing{
		text:   lines(light+" "+wrong, then, titledText("Suspect", suspect), link(m.Links.Incident, "Incident")),
		needed: slices.Concat(top, next),
		all:    slices.Concat(top, titled("Suspect", suspect), next, facts(m), contextBlock(footer(m))),
	}
}

// drawReply shows one turn of the story, with its time to the second, which
// Slack itself shows to the minute.
func drawReply(m alerting.Message) drawing {
	said := markup(alerting.ReplyText(m), maxSection-100) // the rest is for what stands before it
	light := glyph(m.Event)
	d := drawing{
		text:   words(light, said),
		needed: []slack.Block{section(words(light, when(m.Event.At), said))},
	}
	notes := []string{}
	if !strings.Contains(alerting.ReplyText(m), m.Event.Actor) {
		notes = append(notes, "by "+markup(m.Event.Actor, shareContext))
	}
	if m.Event.Kind == belay.KindReview {
		notes = append(notes, link(m.Links.Review, "Review"))
	}
	d.all = slices.Concat(d.needed, contextBlock(notes))
	return d
}

// signal is the colour of an incident: red while nobody and nothing works on
// it, yellow while somebody does, green when it is over.
func signal(m alerting.Message) string {
	switch m.Incident.State {
	case belay.Resolved:
		return "🟢"
	case belay.Acknowledged, belay.Mitigating, belay.Mitigated:
		if m.Rollback != nil && needsPerson(m.Rollback.State) && m.Incident.AcknowledgedBy == "" {
			return "🔴"
		}
		return "🟡"
	}
	return "🔴"
}

// needsPerson says that a rollback ended without making things well.
func needsPerson(s belay.RollbackState) bool {
	return s == belay.RollbackNotRecovered || s == belay.RollbackFailed || s == belay.RollbackFought
}

// facts are what an eye looks for, each with its name.
func facts(m alerting.Message) []slack.Block {
	i, r := m.Incident, m.Rollback
	var out []*slack.TextBlockObject
	add := func(name, value string) {
		if value != "" && len(out) < maxFields {
			out = append(out, mrkdwn("*"+name+"*\n"+value))
		}
	}
	since := i.OpenedAt
	if worst, ok := alerting.Worst(i); ok && !worst.ActiveAt.IsZero() {
		since = worst.ActiveAt
	}
	add("Since", when(since))
	if i.State == belay.Resolved {
		add("Until", when(i.ResolvedAt))
	}
	add("Severity", markup(i.Severity, shareField))
	if r != nil && r.State == belay.RollbackCountdown && i.State != belay.Resolved {
		add("Acts at", when(r.VetoUntil))
		add("To stop it", code("belay rollback stop "+r.ID, shareField))
	}
	if r != nil && r.State == belay.RollbackAwaiting && i.State != belay.Resolved {
		add("To approve it", code("belay rollback approve "+r.ID, shareField))
		add("Expires at", when(r.ApproveUntil))
	}
	add("Again", markup(strings.TrimPrefix(alerting.Again(m), "opened again "), shareField))
	add("Assigned to", markup(i.AssignedTo, shareField))
	if i.AcknowledgedBy != "" {
		add("Acknowledged", markup(i.AcknowledgedBy, shareField)+", "+when(i.AcknowledgedAt))
	}
	if len(out) == 0 {
		return nil
	}
	return []slack.Block{slack.NewSectionBlock(nil, out, nil)}
}

// footer names the incident and its rules and leads to the pages about it.
func footer(m alerting.Message) []string {
	review := ""
	if m.Review != nil {
		review = link(m.Links.Review, "Review")
	}
	return []string{
		link(m.Links.Incident, "Incident"), link(m.Links.Service, "Service"), review,
		markup(ruleNames(m.Incident), shareContext), code(m.Incident.ID, shareContext),
	}
}

// ruleNames lists the rules of an incident's alerts, each once, where there
// are several.
func ruleNames(i belay.Incident) string {
	var names []string
	for _, a := range i.Alerts {
		if a.Rule != "" && len(names) < shareContext && !slices.Contains(names, a.Rule) {
			names = append(names, a.Rule)
		}
	}
	if len(names) < 2 {
		return "" // the header names it
	}
	return "rules " + strings.Join(names, ", ")
}

// glyph lets an eye that runs down a thread find its turns. Most have none.
func glyph(e belay.Event) string {
	switch e.Kind {
	case belay.KindOpened, belay.KindReopened:
		return "🔴"
	case belay.KindPlanned, belay.KindProposed, belay.KindApproved, belay.KindCountdown, belay.KindOrdered:
		return "🟡"
	case belay.KindIntent, belay.KindActed, belay.KindConverged:
		return "↩️"
	case belay.KindRefused, belay.KindStop, belay.KindUnhealthy, belay.KindEnded, belay.KindPreexisting:
		return "⚠️"
	case belay.KindRecovered, belay.KindResolved:
		return "🟢"
	}
	return ""
}

// titled is a paragraph with a name, nothing where there is nothing to say.
func titled(name, s string) []slack.Block {
	if s == "" {
		return nil
	}
	return []slack.Block{section(titledText(name, s))}
}

func titledText(name, s string) string {
	if s == "" {
		return ""
	}
	return "*" + name + ":* " + s
}

// lines and words join what is not empty.
func lines(parts ...string) string { return join(parts, "\n") }
func words(parts ...string) string { return join(parts, " ") }

func join(parts []string, between string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), between)
}

func header(s string) slack.Block {
	return slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, plain(s, maxHeader), true, false))
}

// section is a paragraph. Slack refuses an empty one.
func section(s string) slack.Block {
	if s == "" {
		s = "–"
	}
	return slack.NewSectionBlock(mrkdwn(s), nil, nil)
}

// mrkdwn marks a text verbatim: Slack shall not look for links and mentions
// beyond those that the markup spells out.
func mrkdwn(s string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, s, false, true)
}

// contextBlock is a line in small print of those parts that are not empty, no
// block when all are.
func contextBlock(parts []string) []slack.Block {
	var elements []slack.MixedElement
	for _, p := range parts {
		if p != "" && len(elements) < maxContext {
			elements = append(elements, mrkdwn(p))
		}
	}
	if len(elements) == 0 {
		return nil
	}
	return []slack.Block{slack.NewContextBlock("", elements...)}
}

// weight is how many characters the texts of the blocks have together.
func weight(blocks []slack.Block) int {
	n := 0
	count := func(t *slack.TextBlockObject) {
		if t != nil {
			n += width(t.Text)
		}
	}
	for _, b := range blocks {
		switch b := b.(type) {
		case *slack.HeaderBlock:
			count(b.Text)
		case *slack.SectionBlock:
			count(b.Text)
			for _, f := range b.Fields {
				count(f)
			}
		case *slack.ActionBlock:
			for _, e := range b.Elements.ElementSet {
				if button, ok := e.(*slack.ButtonBlockElement); ok {
					count(button.Text)
				}
			}
		case *slack.ContextBlock:
			for _, e := range b.ContextElements.Elements {
				if t, ok := e.(*slack.TextBlockObject); ok {
					count(t)
				}
			}
		}
	}
	return n
}
