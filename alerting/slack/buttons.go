package slack

import (
	"github.com/slack-go/slack"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// Slack's limits for buttons, in characters.
const (
	maxButtonText   = 75
	maxConfirmTitle = 100
	maxConfirmText  = 300
)

// buttons are what a person can do about an incident now, none when it is
// over. A button carries ids only: what it would do is read from the journal
// when it is pressed.
func buttons(m alerting.Message) []slack.Block {
	i := m.Incident
	if m.Kind != alerting.Parent || m.Event.Kind == "belay.emergency" || i.State == belay.Resolved {
		return nil
	}
	var out []slack.BlockElement
	if r := m.Rollback; r != nil {
		switch r.State {
		case belay.RollbackAwaiting:
			out = append(out,
				button(Approve, r.ID+" "+r.Plan).WithStyle(slack.StyleDanger).WithConfirm(sure(*r)),
				button(Deny, r.ID))
		case belay.RollbackPlanned, belay.RollbackCountdown:
			out = append(out, button(Stop, r.ID).WithStyle(slack.StyleDanger))
		}
	}
	if i.AcknowledgedBy == "" {
		out = append(out, button(Acknowledge, i.ID).WithStyle(slack.StylePrimary))
	}
	out = append(out, button(Silence, i.ID), button(Note, i.ID))
	return []slack.Block{slack.NewActionBlock("belay_actions", out...)}
}

func button(a Action, value string) *slack.ButtonBlockElement {
	return slack.NewButtonBlockElement(string(a), value, slack.NewTextBlockObject(slack.PlainTextType, a.Name(), false, false))
}

// sure asks once more before production is changed, in the words of the plan.
func sure(r belay.Rollback) *slack.ConfirmationBlockObject {
	text := func(s string, limit int) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, plain(s, limit), false, false)
	}
	what := "Take " + alerting.ServiceName(r.Target.Service) + " back from " + r.From.String() + " to " + r.To.String() + "? All guards are asked again first."
	return slack.NewConfirmationBlockObject(text("Roll back?", maxConfirmTitle), text(what, maxConfirmText), text("Roll back", 30), text("Cancel", 30))
}
