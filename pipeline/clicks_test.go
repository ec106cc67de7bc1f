package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/pipeline"
)

const signingSecret = "signing-secret-of-this-test"

// newSlackStage is a stage whose Slack has buttons, over HTTP or Socket Mode,
// and whose service asks its approvers.
func newSlackStage(t *testing.T, socket bool, approvers string) *stage {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	opts := slacktest.Options{Channels: []string{"checkout", "random"}, SigningSecret: signingSecret, Interactions: "http://" + address + "/slack/interactions"}
	keys := "signing_secret_file: signing"
	if socket {
		opts.AppToken, keys = "xapp-test", "app_token_file: app"
	}
	s := newStageOn(t, "", slacktest.New(opts))
	s.put("signing", signingSecret)
	s.put("app", "xapp-test")
	text := strings.NewReplacer(
		"mode: auto", "mode: approve",
		"bot_token_file: token", "bot_token_file: token, "+keys,
		`owners: {slack_channel: "#checkout"}`, `owners: {slack_channel: "#checkout", four_eyes: true, approvers: [`+approvers+`]}`,
		`listen: "127.0.0.1:0"`, `listen: "`+address+`"`,
	).Replace(s.read("belay.yml"))
	s.put("belay.yml", text+`
people:
  - {name: ada, slack: U0ADA, groups: [sre]}
  - {name: ben, slack: U0BEN, groups: [sre]}
  - {name: eve, slack: U0EVE}
`)
	return s
}

// propose runs a Belay until it asks for approval of a rollback, and Slack
// shows the buttons for it.
func (s *stage) propose() belay.Rollback {
	s.t.Helper()
	s.start()
	s.await("v1 is known good", standing(belay.Good))
	s.put("running", "v2")
	proposed := s.await("a proposal", kind(belay.KindProposed))
	s.awaitSlack("the button Approve", func() bool {
		_, err := s.slack.Payload(slacktest.Press{Channel: "checkout", Action: "belay_approve", User: "U0ADA"})
		return err == nil
	})
	return *proposed.Rollback
}

func (s *stage) awaitSlack(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	s.t.Fatalf("never in Slack: %s; whispers: %v", what, s.slack.Whispers())
}

// press is what Slack sends when somebody presses a button now.
func (s *stage) press(action, user string) []byte {
	s.t.Helper()
	payload, err := s.slack.Payload(slacktest.Press{Channel: "checkout", Action: action, User: user})
	if err != nil {
		s.t.Fatal(err)
	}
	return payload
}

// told waits for the answer to a click, the next after n, and returns it.
func (s *stage) told(n int) slacktest.Whisper {
	s.t.Helper()
	s.awaitSlack("an answer", func() bool { return len(s.slack.Whispers()) > n })
	return s.slack.Whispers()[n]
}

// bend replaces a text in a payload, which must be there.
func bend(t *testing.T, payload []byte, was, is string) []byte {
	t.Helper()
	if !bytes.Contains(payload, []byte(was)) {
		t.Fatalf("no %s in %s", was, payload)
	}
	return bytes.ReplaceAll(payload, []byte(was), []byte(is))
}

// post sends an interaction by hand and returns the status code.
func (s *stage) post(query, body, secret string, at time.Time) int {
	s.t.Helper()
	address := "http://" + s.webAddress() + "/slack/interactions" + query
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	slacktest.Sign(req.Header, secret, body, at)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func form(payload []byte) string { return url.Values{"payload": {string(payload)}}.Encode() }

// TestNobodyElseApproves goes through the ways to get an approval that is not
// one's own to give. Each is refused, with a reason for whoever clicked and an
// event in the journal, and changes nothing; then the right click works, once.
func TestNobodyElseApproves(t *testing.T) {
	s := newSlackStage(t, false, `"@sre"`)
	rb := s.propose()
	s.deployedBy("ada")
	now := time.Now

	// What Slack did not vouch for gets no further than the door.
	good := s.press("belay_approve", "U0BEN")
	for _, c := range []struct {
		what              string
		query, body, sign string
		at                time.Time
		want              int
	}{
		{"forged", "", form(good), "another secret", now(), http.StatusUnauthorized},
		{"signed six minutes ago", "", form(good), signingSecret, now().Add(-6 * time.Minute), http.StatusUnauthorized},
		{"signed six minutes from now", "", form(good), signingSecret, now().Add(6 * time.Minute), http.StatusUnauthorized},
		{"the payload in the address", "?" + form(good), "x=y", signingSecret, now(), http.StatusBadRequest},
		{"two payloads", "", form(good) + "&" + form(good), signingSecret, now(), http.StatusBadRequest},
		{"no body", "", "", signingSecret, now(), http.StatusBadRequest},
	} {
		if got := s.post(c.query, c.body, c.sign, c.at); got != c.want {
			t.Errorf("%s: status %d, want %d", c.what, got, c.want)
		}
	}
	if n := len(s.slack.Whispers()); n != 0 {
		t.Fatalf("somebody was answered: %v", s.slack.Whispers())
	}

	// What Slack vouches for is answered, to the one who clicked.
	press := func(user string) []byte { return s.press("belay_approve", user) }
	used := press("U0EVE")
	for _, c := range []struct {
		what    string
		payload []byte
		want    string
	}{
		{"wrong workspace", bend(t, press("U0BEN"), `"team":{"domain":"local","id":"T0LOCAL"}`, `"team":{"domain":"local","id":"T0OTHER"}`), "another workspace"},
		{"another app", bend(t, press("U0BEN"), slacktest.AppID, "A0OTHER"), "another app"},
		{"a guest of another workspace", bend(t, press("U0BEN"), `"team_id":"T0LOCAL"`, `"team_id":"T0OTHER"`), "guests"},
		{"somebody unknown", press("U0NOBODY"), "names no person with your Slack id U0NOBODY"},
		{"not an approver", used, "eve is none of the approvers of production/checkout (@sre)"},
		{"the same click once more", used, "used already"},
		{"self-approval", press("U0ADA"), "ada deployed v2, so somebody else has to approve"},
		{"another message's button", bend(t, press("U0BEN"), `"ts":"`, `"ts":"1`), "not pressed in Belay's message"},
		{"a plan that has changed", bend(t, press("U0BEN"), rb.ID+" "+rb.Plan, rb.ID+" 0123456789ab"), "the plan has changed since it was shown"},
		{"no plan", bend(t, press("U0BEN"), rb.ID+" "+rb.Plan, rb.ID), "names no plan"},
		{"a rollback that there is not", bend(t, press("U0BEN"), rb.ID+" "+rb.Plan, "deadbeef "+rb.Plan), "has expired"},
		{"an incident in place of a rollback", bend(t, press("U0BEN"), rb.ID+" "+rb.Plan, rb.Incident+" "+rb.Plan), "has expired"},
	} {
		n := len(s.slack.Whispers())
		if err := s.slack.Send(t.Context(), c.payload); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got := s.told(n); !strings.Contains(got.Text, c.want) {
			t.Errorf("%s is answered with %q, want %q", c.what, got.Text, c.want)
		}
	}
	s.expectNoAct()
	s.expectAudited("eve is none of the approvers", "ada deployed v2", "pressed in another workspace", "names no person", "the plan has changed")

	n := len(s.slack.Whispers())
	if err := s.slack.Send(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if got := s.told(n); !strings.Contains(got.Text, "You have approved going back from v2 to v1") || got.User != "U0BEN" {
		t.Errorf("the approval is answered with %+v", got)
	}
	acted := s.await("the rollback", kind(belay.KindActed))
	if acted.Rollback.ApprovedBy != "ben" {
		t.Errorf("approved by %q", acted.Rollback.ApprovedBy)
	}
	n = len(s.slack.Whispers())
	if err := s.slack.Send(t.Context(), bend(t, good, `"trigger_id":"1.2.`, `"trigger_id":"1.3.`)); err != nil {
		t.Fatal(err)
	}
	if got := s.told(n); !strings.Contains(got.Text, "Nothing was done") {
		t.Errorf("a second approval is answered with %q", got.Text)
	}
	s.await("recovery", kind(belay.KindRecovered))
	if ops := s.operations(); len(ops) != 1 {
		t.Errorf("the platform was asked %d times", len(ops))
	}
}

func TestWithoutApproversNobodyApprovesInSlack(t *testing.T) {
	s := newSlackStage(t, false, "")
	s.propose()
	if err := s.slack.Send(t.Context(), s.press("belay_approve", "U0BEN")); err != nil {
		t.Fatal(err)
	}
	if got := s.told(0); !strings.Contains(got.Text, "owners.approvers are empty") {
		t.Errorf("answered with %q", got.Text)
	}
	s.expectNoAct()
}

// TestButtonsWorkOverSocketMode acknowledges, notes and denies, each with its
// dialogue, over a connection that is lost in between.
func TestButtonsWorkOverSocketMode(t *testing.T) {
	s := newSlackStage(t, true, `"@sre"`)
	s.propose()
	s.awaitSlack("a connection", func() bool { return s.slack.Connections() == 1 })

	if err := s.slack.Send(t.Context(), s.press("belay_acknowledge", "U0EVE")); err != nil {
		t.Fatal(err)
	}
	acked := s.await("acknowledged", kind(belay.KindAcked))
	if acked.Actor != "eve" {
		t.Errorf("acknowledged by %q", acked.Actor)
	}
	s.awaitSlack("no button to acknowledge any more", func() bool {
		_, err := s.slack.Payload(slacktest.Press{Channel: "checkout", Action: "belay_acknowledge", User: "U0EVE"})
		return err != nil
	})

	if err := s.slack.Send(t.Context(), s.press("belay_silence", "U0EVE")); err != nil {
		t.Fatal(err)
	}
	silenced := s.await("silenced", kind(belay.KindSilence)).Silence
	if want := []string{`alertname="CheckoutErrors"`, `service="checkout"`}; silenced.CreatedBy != "eve" || !slices.Equal(silenced.Matchers, want) {
		t.Errorf("silenced %v by %s", silenced.Matchers, silenced.CreatedBy)
	}

	s.slack.Drop()
	s.awaitSlack("a new connection", func() bool { return s.slack.Connected() == 2 && s.slack.Connections() == 1 })

	s.dialogue("belay_note", "U0EVE", "looks like the cache <!channel>")
	if noted := s.await("a note", kind(belay.KindNoted)); noted.Actor != "eve" || !strings.Contains(noted.Reason, "looks like the cache") {
		t.Errorf("noted %q by %q", noted.Reason, noted.Actor)
	}
	s.dialogue("belay_deny", "U0BEN", "we fix forward")
	denied := s.await("denied", kind(belay.KindStop))
	if denied.Actor != "ben" || !strings.Contains(denied.Reason, "we fix forward") {
		t.Errorf("denied: %q by %q", denied.Reason, denied.Actor)
	}
	s.awaitSlack("no button to approve any more", func() bool {
		_, err := s.slack.Payload(slacktest.Press{Channel: "checkout", Action: "belay_approve", User: "U0BEN"})
		return err != nil
	})
	s.expectNoAct()
	for _, m := range s.slack.Messages("checkout") {
		if len(m.Pings) > 0 {
			t.Errorf("a message pings %v", m.Pings)
		}
	}
}

// dialogue presses a button that asks for words, and sends them.
func (s *stage) dialogue(action, user, words string) {
	s.t.Helper()
	if err := s.slack.Send(s.t.Context(), s.press(action, user)); err != nil {
		s.t.Fatal(err)
	}
	s.awaitSlack("a dialogue", func() bool { return len(s.slack.Dialogues()) == 1 })
	if err := s.slack.Submit(s.t.Context(), s.slack.Dialogues()[0], words); err != nil {
		s.t.Fatal(err)
	}
}

// deployedBy announces who put v2 in place, as a pipeline does afterwards.
func (s *stage) deployedBy(actor string) {
	s.t.Helper()
	body, _ := json.Marshal(map[string]string{"event": "finish", "service": "checkout", "revision": contents["v2"], "actor": actor})
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.webAddress()+"/api/belay/v1/deployments", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(s.read("belay.token")))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("announcing: %s", res.Status)
	}
}

// webAddress is where the configuration lets the pages listen.
func (s *stage) webAddress() string {
	_, rest, _ := strings.Cut(s.read("belay.yml"), `listen: "`)
	address, _, _ := strings.Cut(rest, `"`)
	return address
}

// expectAudited looks for the words of refusals in the journal.
func (s *stage) expectAudited(words ...string) {
	s.t.Helper()
	var all strings.Builder
	for _, ev := range s.events() {
		if ev.Kind == belay.KindClick {
			fmt.Fprintln(&all, ev.Actor, ev.Reason)
		}
	}
	for _, w := range words {
		if !strings.Contains(all.String(), w) {
			s.t.Errorf("the journal does not tell that %q:\n%s", w, all.String())
		}
	}
}

func TestOnlyAPersonIsAskedToLookAfterAnIncident(t *testing.T) {
	for name, tc := range map[string]struct{ people, to, want string }{
		"one of people":         {"people: [{name: ada}, {name: ben}]", "ben", ""},
		"nobody knows that one": {"people: [{name: ada}, {name: ben}]", "eve", `"eve": nobody of that name is among people; allowed: ada, ben`},
		"there are no people":   {"", "eve", ""},
	} {
		cfg, err := pipeline.Parse("belay.yml", []byte(tc.people))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := pipeline.Assignable(cfg, tc.to); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
