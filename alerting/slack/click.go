package slack

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"
)

// An Action is what a button of a message asks for. It is the button's
// action_id.
type Action string

// The actions.
const (
	Approve     Action = "belay_approve"     // a rollback that waits for it
	Deny        Action = "belay_deny"        // the same, with a reason
	Stop        Action = "belay_stop"        // a rollback that counts down
	Acknowledge Action = "belay_acknowledge" // an incident
	Silence     Action = "belay_silence"     // the rules of an incident, for this service and an hour
	Note        Action = "belay_note"        // a person's words about an incident
)

// Name returns the words on the button.
func (a Action) Name() string {
	switch a {
	case Approve:
		return "Approve"
	case Deny:
		return "Deny…"
	case Stop:
		return "Stop"
	case Acknowledge:
		return "Acknowledge"
	case Silence:
		return "Silence 1 h"
	case Note:
		return "Note…"
	}
	return string(a)
}

// asksWords says that the action opens a dialogue for a person's words first.
func (a Action) asksWords() bool { return a == Deny || a == Note }

func (a Action) known() bool { return a.Name() != string(a) }

// A Click is a button that somebody pressed, or a dialogue that they sent.
// Slack has vouched for it; what the person may do is not decided yet.
type Click struct {
	ID      string // the same click, sent twice, has the same one
	Team    string // of the workspace in which it was pressed
	App     string
	User    string // the id of whoever pressed it
	Home    string // the workspace that the user belongs to, "" when Slack does not say
	Channel string
	TS      string // of the message
	Action  Action
	Subject string // the id of the rollback or incident that the button is about
	Plan    string // the identity of the plan that was shown, for Approve
	Words   string // from the dialogue
	Foreign string // why it is not from this app's workspace, "" when it is: to be refused

	trigger string
}

// Ref returns the message's name, as Notify returned it.
func (c Click) Ref() string { return c.Channel + ":" + c.TS }

// errNotOurs marks an interaction that asks nothing of Belay, such as a
// dialogue that was closed.
var errNotOurs = errors.New("nothing of Belay's was pressed")

// Bounds of what a payload may hold.
const (
	maxPayload = 1 << 20
	maxID      = 255
	maxWords   = 3000 // of a dialogue
)

// A wire is what is read of an interaction's payload, and no more.
type wire struct {
	Type      string `json:"type"`
	TriggerID string `json:"trigger_id"`
	APIAppID  string `json:"api_app_id"`
	Team      struct {
		ID string `json:"id"`
	} `json:"team"`
	User struct {
		ID     string `json:"id"`
		TeamID string `json:"team_id"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Message struct {
		TS string `json:"ts"`
	} `json:"message"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
	} `json:"actions"`
	View struct {
		CallbackID      string `json:"callback_id"`
		PrivateMetadata string `json:"private_metadata"`
		State           struct {
			Values map[string]map[string]struct {
				Value string `json:"value"`
			} `json:"values"`
		} `json:"state"`
	} `json:"view"`
}

// A thread of thought that a dialogue carries from the button to its answer.
// Slack hands it back as it was given, in a payload that it vouches for.
type carried struct {
	Channel string `json:"c"`
	TS      string `json:"t"`
	Value   string `json:"v"`
}

// parseClick reads the payload of an interaction. It returns errNotOurs for
// one that Belay need not answer, and another error for one that no message
// of Belay can have led to.
func parseClick(payload []byte) (Click, error) {
	if len(payload) > maxPayload || !utf8.Valid(payload) {
		return Click{}, errors.New("the payload is too large, or not UTF-8")
	}
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return Click{}, fmt.Errorf("the payload is not JSON: %w", err)
	}
	c := Click{Team: w.Team.ID, App: w.APIAppID, User: w.User.ID, Home: w.User.TeamID, trigger: w.TriggerID}
	var value string
	switch w.Type {
	case "block_actions":
		if len(w.Actions) != 1 {
			return Click{}, fmt.Errorf("%d actions at once", len(w.Actions))
		}
		c.Action, value = Action(w.Actions[0].ActionID), w.Actions[0].Value
		c.Channel, c.TS = w.Channel.ID, w.Message.TS
	case "view_submission":
		var from carried
		if err := json.Unmarshal([]byte(w.View.PrivateMetadata), &from); err != nil {
			return Click{}, errors.New("the dialogue is not one of Belay's")
		}
		c.Action, value, c.Channel, c.TS = Action(w.View.CallbackID), from.Value, from.Channel, from.TS
		c.Words = strings.TrimSpace(w.View.State.Values[wordsBlock][wordsInput].Value)
		if !c.Action.asksWords() || c.Words == "" || len(c.Words) > 4*maxWords {
			return Click{}, errors.New("the dialogue holds no words, or too many")
		}
	default:
		return Click{}, errNotOurs
	}
	if strings.HasPrefix(string(c.Action), linkAction) {
		return Click{}, errNotOurs // Slack tells of links that were followed, too
	}
	c.Subject, c.Plan, _ = strings.Cut(value, " ")
	if !c.Action.known() || c.Subject == "" || len(value) > maxID {
		return Click{}, errors.New("the button is not one of Belay's")
	}
	for _, id := range []string{c.Team, c.App, c.User, c.Channel, c.TS, c.trigger} {
		if id == "" || len(id) > maxID {
			return Click{}, errors.New("the payload does not say who pressed what, and where")
		}
	}
	sum := sha256.Sum256([]byte(c.Team + "\x00" + c.User + "\x00" + c.trigger))
	c.ID = fmt.Sprintf("%x", sum[:12])
	return c, nil
}

// The names in a dialogue.
const (
	wordsBlock = "words"
	wordsInput = "text"
	linkAction = "belay_link_"
)

// dialogue asks for the words that an action needs.
func (c Click) dialogue() slack.ModalViewRequest {
	title, label, hint := "Add a note", "What should others know?", "It goes into the incident's story and its review, with your name."
	if c.Action == Deny {
		title, label, hint = "Deny this rollback", "Why not?", "It is shown to everybody with your name; nothing will be changed."
	}
	value := c.Subject
	if c.Plan != "" {
		value += " " + c.Plan
	}
	meta, _ := json.Marshal(carried{Channel: c.Channel, TS: c.TS, Value: value}) // strings only: cannot fail
	text := func(s string) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, s, false, false)
	}
	input := slack.NewPlainTextInputBlockElement(nil, wordsInput)
	input.Multiline, input.MaxLength = true, maxWords
	return slack.ModalViewRequest{
		Type: slack.VTModal, CallbackID: string(c.Action), PrivateMetadata: string(meta),
		Title: text(title), Submit: text("Send"), Close: text("Cancel"),
		Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock(wordsBlock, text(label), text(hint), input)}},
	}
}
