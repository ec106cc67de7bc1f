package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack/slacktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	fired  = at(3, 22)
	opened = at(3, 22)
	good   = belay.Revision{Content: "sha256:5c0ffee5c0ffee00", Version: "1.41.3"}
	bad    = belay.Revision{Content: "sha256:bad0bad0bad0bad0", Version: "1.42.0"}
)

// at is a moment of the hour in which the story happens.
func at(m, s int) time.Time { return time.Date(2026, 11, 23, 14, m, s, 0, time.UTC) }

func incident(state belay.IncidentState) belay.Incident {
	return belay.Incident{
		ID: "i-1", Service: belay.ServiceID{Environment: "production", Name: "checkout"},
		Title: "checkout production: CheckoutErrors", Severity: "critical", State: state, OpenedAt: opened,
		Alerts: []belay.Alert{{
			ID: "a-1", Rule: "CheckoutErrors", Labels: labels.FromStrings("severity", "critical", "service", "checkout"),
			Annotations: map[string]string{"summary": "error ratio"}, State: belay.AlertFiring, Value: 0.0812,
			Condition: "> 0.02", ActiveAt: at(3, 10), FiredAt: fired, EvaluatedAt: fired, DataAt: fired, Verdict: belay.Fail,
		}},
	}
}

func rollback(state belay.RollbackState, reason string) *belay.Rollback {
	return &belay.Rollback{
		ID: "op-1", Incident: "i-1", Target: belay.Target{Service: incident("").Service, Platform: "command"},
		From: bad, To: good, Mode: belay.ModeAuto, State: state, Reason: reason,
		Suspects: []belay.Suspect{{Score: 0.9, Why: "began 1 min 10 s before the damage", Deployment: belay.Deployment{
			ID: "d-1", From: good, To: bad, StartedAt: at(2, 0), Actor: "ci", Commit: "0a1b2c3d4e5f",
		}}},
		VetoUntil: at(4, 24), RecoveryHold: 5 * time.Minute,
	}
}

func message(i belay.Incident, r *belay.Rollback, now time.Time) alerting.Message {
	return alerting.Message{
		Kind: alerting.Parent, Key: i.ID, At: now, Incident: i, Rollback: r,
		Links: alerting.Links{Incident: "http://127.0.0.1:9720/incidents/i-1", Service: "http://127.0.0.1:9720/services/production/checkout"},
	}
}

func firing() alerting.Message {
	return message(incident(belay.Triggered), nil, fired)
}

func countdown() alerting.Message {
	return message(incident(belay.Triggered), rollback(belay.RollbackCountdown, "told; waiting"), at(3, 24))
}

func awaiting() alerting.Message {
	r := rollback(belay.RollbackAwaiting, "waits for a person's approval")
	r.Mode, r.Plan, r.VetoUntil, r.ApproveUntil = belay.ModeApprove, "0a1b2c3d4e5f", time.Time{}, at(33, 24)
	return message(incident(belay.Triggered), r, at(3, 24))
}

func refused() alerting.Message {
	r := rollback(belay.RollbackRefused, "the mode of checkout production is notify")
	r.Mode = belay.ModeNotify
	i := incident(belay.Acknowledged)
	i.AcknowledgedBy, i.AcknowledgedAt = "anna", at(5, 0)
	return message(i, r, at(5, 0))
}

func rollingBack() alerting.Message {
	r := rollback(belay.RollbackConverging, "the platform accepted")
	r.ActedAt = at(4, 25)
	return message(incident(belay.Mitigating), r, at(4, 26))
}

func notHelped() alerting.Message {
	r := rollback(belay.RollbackNotRecovered, "still failing after 15 min")
	r.ActedAt = at(4, 25)
	return message(incident(belay.Mitigating), r, at(19, 26))
}

func recovered() alerting.Message {
	r := rollback(belay.RollbackRecovered, "healthy for 5 min")
	r.ActedAt, r.ConvergedAt, r.HealthyAt, r.ClosedAt = at(4, 25), at(4, 40), at(5, 0), at(10, 0)
	i := incident(belay.Resolved)
	i.ResolvedAt = at(10, 0)
	i.Alerts[0].State, i.Alerts[0].ResolvedAt = belay.AlertInactive, at(5, 0)
	m := message(i, r, at(10, 0))
	m.Links.Review, m.Review = "http://127.0.0.1:9720/reviews/i-1", &belay.Review{Incident: "i-1", State: "draft"}
	return m
}

// keeper is a notifier that remembers what it was told.
type keeper chan alerting.Message

func (k keeper) Notify(_ context.Context, m alerting.Message) (string, error) {
	k <- m
	return "", nil
}

func emergency(t *testing.T) alerting.Message {
	told := make(keeper, 1)
	e := alerting.NewEmergency([]alerting.Destination{{Name: "slack", Notifier: told}},
		alerting.EmergencyOptions{Now: func() time.Time { return fired }})
	e.Tell(t.Context(), "journal", "The journal cannot be written (disk full). Nothing acts until it can.")
	e.Wait()
	return <-told
}

func reply(thread string, kind belay.Kind, reason string) alerting.Message {
	m := message(incident(belay.Triggered), nil, at(3, 24))
	m.Kind, m.Key, m.Thread = alerting.Reply, "i-1/7", thread
	m.Event = belay.Event{Seq: 7, At: at(3, 24), Kind: kind, Reason: reason}
	return m
}

func TestEachStateLooksLikeItsGoldenFile(t *testing.T) {
	stopped := reply("C1:1.2", belay.KindStop, "anna stopped the rollback to 1.41.3: \"we fix forward\"")
	stopped.Event.Actor = "anna"
	reviewed := reply("C1:1.2", belay.KindReview, "The review is drafted.")
	reviewed.Links.Review = "http://127.0.0.1:9720/reviews/i-1"
	for name, m := range map[string]alerting.Message{
		"firing": firing(), "countdown": countdown(), "awaiting": awaiting(), "refused": refused(), "rolling_back": rollingBack(),
		"not_recovered": notHelped(), "recovered": recovered(),
		"reply_stopped": stopped, "reply_review": reviewed,
		"emergency": emergency(t),
	} {
		t.Run(name, func(t *testing.T) {
			d := draw(m, true)
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(map[string]any{"text": d.text, "blocks": d.all}); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("differs from %s (write it anew with -update):\n%s", file, diff)
			}
		})
	}
}

func TestTheColourIsRedUntilSomebodyOrSomethingWorksOnIt(t *testing.T) {
	byPerson := notHelped()
	byPerson.Incident.AcknowledgedBy = "anna"
	for _, c := range []struct {
		what string
		m    alerting.Message
		want string
	}{
		{"firing", firing(), "🔴"},
		{"acknowledged", refused(), "🟡"},
		{"rolling back", rollingBack(), "🟡"},
		{"a rollback that did not help", notHelped(), "🔴"},
		{"the same, in the hands of a person", byPerson, "🟡"},
		{"resolved", recovered(), "🟢"},
	} {
		if got := signal(c.m); got != c.want {
			t.Errorf("%s is %s, want %s", c.what, got, c.want)
		}
	}
}

func TestDataBecomesHarmlessText(t *testing.T) {
	for _, c := range []struct{ what, in, want string }{
		{"markup", "<!channel> a&b", "&lt;!channel&gt; a&amp;b"},
		{"a person", "<@U123>", "&lt;@U123&gt;"},
		{"a call to all", "hi @here and @Channel", "hi @\u2060here and @\u2060Channel"},
		{"a call hidden by a zero width", "@\u200bhere", "@\u2060here"},
		{"a disguised link", "<https://evil.example|Approve>", "&lt;https://evil.example|Approve&gt;"},
		{"back-ticks", "```rm```", "'''rm'''"},
		{"a second line", "one\r\n*Approved by* two\x00", "one *Approved by* two"},
		{"a reversed direction", "abc\u202egpj.exe", "abcgpj.exe"},
		{"right-to-left words", "שגיאה", "שגיאה"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
		{"too much", strings.Repeat("x", 41), strings.Repeat("x", 39) + "…"},
		{"exactly enough", strings.Repeat("x", 40), strings.Repeat("x", 40)},
		{"an entity at the end", strings.Repeat("x", 37) + "&&", strings.Repeat("x", 37) + "…"},
		{"an emoji at the end", strings.Repeat("x", 38) + "🔥🔥", strings.Repeat("x", 38) + "…"},
	} {
		if got := markup(c.in, 40); got != c.want {
			t.Errorf("%s: %q becomes %q, want %q", c.what, c.in, got, c.want)
		}
	}
}

func TestOnlyWebAddressesBecomeLinks(t *testing.T) {
	for in, want := range map[string]string{
		"https://b.example/i?a=1&b=2": "<https://b.example/i?a=1&amp;b=2|Incident>",
		"https://b.example/|x>y":      "<https://b.example/%7Cx%3Ey|Incident>",
		"javascript:alert(1)":         "",
		"/incidents/1":                "",
		"":                            "",
		"https://b.example/" + strings.Repeat("x", 5e3): "",
	} {
		if got := link(in, "Incident"); got != want {
			t.Errorf("link(%.40q) = %q, want %q", in, got, want)
		}
	}
}

// nasty are values that have broken messages elsewhere.
var nasty = []string{
	"", "checkout", "<!channel>", "<!here|here>", "<@U0BELAY>", "<!subteam^S1|@sre>", "@everyone", "`code`", "```",
	"<https://evil.example|Approve>", "&amp;", "\u202eevil", "\u2066", "مرحبا", "👩‍👩‍👧‍👦", "\x00\x1b[31m", "*b* _i_ ~s~", "\n\n> quote",
	"\xff\xfe", "{{ template }}", "<!date^1^{time}|x>", ":fire:", "e\u0301", "\U000e0041", strings.Repeat("🔥", 2500),
	strings.Repeat("&<>", 17_000), strings.Repeat("x", 50_000), strings.Repeat("<!channel> ", 5_000), strings.Repeat("@here", 400),
}

func TestNothingInALabelBreaksALimitOrPingsAnybody(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() string { return nasty[rng.IntN(len(nasty))] + nasty[rng.IntN(len(nasty))] }
	for range 25 {
		for _, m := range hostile(pick) {
			checkHarmless(t, m)
		}
	}
}

func FuzzNothingInALabelBreaksALimitOrPingsAnybody(f *testing.F) {
	for _, s := range nasty {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		turn := 0
		for _, m := range hostile(func() string { turn++; return []string{a, b}[turn%2] }) {
			checkHarmless(t, m)
		}
	})
}

// hostile fills everything that comes from outside, in each kind of message.
func hostile(pick func() string) []alerting.Message {
	fill := func(m alerting.Message) alerting.Message {
		m.Key = "k"
		i := &m.Incident
		i.ID, i.Title, i.Severity, i.AcknowledgedBy = "i"+pick(), pick(), pick(), pick()
		i.Service = belay.ServiceID{Environment: pick(), Name: pick()}
		for n := range i.Alerts {
			a := &i.Alerts[n]
			a.Rule, a.Condition, a.Annotations = pick(), pick(), map[string]string{"summary": pick()}
			a.Labels = labels.FromStrings("severity", pick(), "service", pick())
		}
		for range 12 {
			i.Alerts = append(i.Alerts, belay.Alert{Rule: pick(), State: belay.AlertFiring})
		}
		if r := m.Rollback; r != nil {
			r.From.Version, r.To.Version, r.Reason = pick(), pick(), pick()
			r.Answers = []belay.Answer{{Guard: "mode", Veto: pick()}}
			d := &r.Suspects[0].Deployment
			d.From.Version, d.To.Version, d.Actor, d.Commit = pick(), pick(), pick(), pick()
		}
		m.Links = alerting.Links{Incident: pick(), Service: "https://belay.example/" + pick(), Review: "http://x/" + pick()}
		m.Event.Reason, m.Event.Actor = pick(), pick()
		return m
	}
	return []alerting.Message{fill(firing()), fill(countdown()), fill(awaiting()), fill(refused()), fill(rollingBack()), fill(recovered())}
}

// direct is a Slack without a network.
type direct struct{ slack http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	d.slack.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// checkHarmless fails where a message is refused, loses blocks on the way,
// or calls anybody. A Slack of its own is the judge.
func checkHarmless(t *testing.T, m alerting.Message) {
	t.Helper()
	server := slacktest.New(slacktest.Options{})
	n, err := New(alerting.Slack{APIURL: "http://slack.test/api", BotToken: "xoxb-test"},
		alerting.SlackChannel{Channel: channel}, Options{HTTPClient: &http.Client{Transport: direct{server}}})
	if err != nil {
		t.Fatal(err)
	}
	if d := draw(m, true); weight(d.all) > maxAll || len(d.all) <= len(d.needed) {
		t.Errorf("the blocks weigh %d, at most %d is allowed; %d of them, %d needed", weight(d.all), maxAll, len(d.all), len(d.needed))
	}
	parent, err := n.Notify(t.Context(), m)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	m.Kind, m.Key, m.Thread = alerting.Reply, "reply", parent
	if _, err := n.Notify(t.Context(), m); err != nil {
		t.Fatalf("refused: %v", err)
	}
	for _, got := range server.Messages(channel) {
		if len(got.Pings) > 0 {
			t.Errorf("pings %q", got.Pings)
		}
		whole := got.ThreadTS != "" || strings.Contains(string(got.Blocks), `"context"`)
		if !utf8.ValidString(got.Text) || got.Blocks == nil || !whole {
			t.Errorf("text %.80q, blocks %.80s: broken, or not the whole message", got.Text, got.Blocks)
		}
	}
}
