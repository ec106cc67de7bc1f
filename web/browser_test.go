package web_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web"
)

var shots = flag.String("shots", "", "directory to put pictures of the pages into")

// ask runs an action and returns what it found.
func ask[T any](tab context.Context, t *testing.T, action chromedp.Action[T]) T {
	t.Helper()
	found, err := chromedp.Run(tab, action)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// furnished is a server whose every page has something on it, long names
// included.
func furnished(t *testing.T) *house {
	h := build(t, loop(), func(o *web.Options) {
		o.Judgements = func() []belay.Judgement {
			return []belay.Judgement{
				{Rule: "CheckoutErrors", Labels: labels.FromStrings("service", "checkout"), Verdict: belay.Pass, Value: 0.001, At: start.Add(599 * time.Second)},
				{Rule: "SearchLatency", Labels: labels.FromStrings("service", "search"), Verdict: belay.Pass, Value: 0.2, At: start.Add(599 * time.Second)},
			}
		}
		o.Alerts = func() []belay.Alert {
			a := alert(belay.AlertPending)
			a.ID, a.Rule = "a2", "SearchLatencyIsAboveWhatPeopleEndureOnAnOrdinaryDayOfTheWeek"
			a.Labels = labels.FromStrings("alertname", a.Rule, "service", "search", "severity", "warning", "instance", strings.Repeat("very-long-instance-name-", 5)+":8080")
			return []belay.Alert{alert(belay.AlertFiring), a}
		}
		o.Silences = func() []belay.Silence {
			now := start.Add(10 * time.Minute)
			return []belay.Silence{
				{ID: "s-1", Matchers: []string{`alertname="CheckoutErrors"`, `service="checkout"`}, StartsAt: now.Add(-time.Minute), EndsAt: now.Add(time.Hour), CreatedBy: "ada", Comment: "the cache is being moved"},
				{ID: "s-2", Matchers: []string{`instance=~"` + strings.Repeat("very-long-instance-name-", 8) + `.*"`}, StartsAt: now.Add(time.Hour), EndsAt: now.Add(2 * time.Hour), Comment: hostile},
				{ID: "s-3", Matchers: []string{`a="b"`}, StartsAt: now.Add(-2 * time.Hour), EndsAt: now.Add(-time.Hour), CreatedBy: "ada"},
			}
		}
		o.Targets = func() []web.TargetInfo {
			return []web.TargetInfo{
				{Job: "shop", URL: "http://127.0.0.1:8080/metrics", Labels: labels.FromStrings("service", "checkout"), Healthy: true, LastScrape: start.Add(598 * time.Second)},
				{Job: "shop", URL: "http://127.0.0.1:8081/" + strings.Repeat("metrics/", 20), Labels: labels.FromStrings("service", "search"), Error: "connection refused", LastScrape: start.Add(597 * time.Second)},
			}
		}
		o.Rules = func() []web.RuleGroupInfo {
			return []web.RuleGroupInfo{{Name: "checkout", File: "rules/checkout.yml", Interval: 15 * time.Second, Rules: []web.RuleInfo{
				{Name: "CheckoutErrors", Kind: "alert", Expr: `sum by (service) (rate(http_requests_total{code=~"5.."}[1m])) / sum by (service) (rate(http_requests_total[1m])) > 0.02`, For: 10 * time.Second, Labels: labels.FromStrings("severity", "critical"), Verdict: belay.Pass, EvaluatedAt: start.Add(599 * time.Second)},
				{Name: "job:errors:ratio" + strings.Repeat("_very_long", 12), Kind: "record", Expr: "sum(errors)", Verdict: belay.Unknown, Error: "the query failed: too many samples", EvaluatedAt: start.Add(599 * time.Second)},
			}}}
		}
		o.Outbox = func() (int, time.Duration) { return 2, 3 * time.Second }
	})
	h.write(t, "i-7k2m.md", reviewMarkdown)
	h.write(t, "i-7k2m.svg", `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="200" viewBox="0 0 960 200"><rect width="960" height="200" fill="#fff"/><path d="M0 150 L300 150 L340 40 L520 40 L560 150 L960 150" fill="none" stroke="#1a6561" stroke-width="3"/><text x="20" y="30" font-family="sans-serif">errors / requests</text></svg>`)
	return h
}

const reviewMarkdown = `# Checkout answers with errors

**Draft.** Belay wrote what it saw; people add what they know.

![The error ratio of checkout](i-7k2m.svg)

| milestone | when | uncertainty |
|---|---|---|
| first bad request | 14:02:38 UTC | 1 s |
| alert fired | 14:02:50 UTC | 1 s |
| rolled back | 14:03:20 UTC | – |

## What happened

1. ada put v1.4.3 in place of v1.4.2.
2. 18.4 % of the requests failed for 42 s.

> Why did the change pass its tests? *(to be written)*

` + "```\nsum(rate(http_requests_total{code=~\"5..\"}[1m])) / sum(rate(http_requests_total[1m])) > 0.02 and on() vector(1)\n```\n"

func pagePaths() []string {
	return []string{
		"/", "/services/production/checkout", "/services/production/search", "/incidents", "/incidents/i-7k2m", "/rollbacks", "/reviews/i-7k2m",
		"/alerts", "/silences?matchers=a%3D%22b%22", "/targets", "/rules", "/status", "/nothing/here/" + strings.Repeat("long", 40),
	}
}

func TestNoPageIsWiderThanAPhone(t *testing.T) {
	h := furnished(t)
	tab := peers.StartChromium(t)
	for _, path := range pagePaths() {
		for _, look := range []struct {
			name  string
			width int64
			dark  string
		}{{"phone", 390, "light"}, {"phone-dark", 390, "dark"}, {"desk", 1200, "light"}, {"desk-dark", 1200, "dark"}} {
			if *shots == "" && look.name != "phone" {
				continue
			}
			err := chromedp.Do(tab,
				chromedp.EmulateViewport(look.width, 844),
				chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
					_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
						Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.dark}},
					})
					return err
				}),
				chromedp.Navigate(h.http.URL+path),
			)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			title := ask(tab, t, chromedp.Title())
			width := ask(tab, t, chromedp.Evaluate[float64]("document.documentElement.scrollWidth"))
			if !strings.HasSuffix(title, "· Belay") {
				t.Errorf("%s has the title %q: not a page of Belay", path, title)
			}
			if width > float64(look.width) {
				t.Errorf("%s is %v px wide on a screen of %d", path, width, look.width)
			}
			if *shots != "" {
				name := strings.Trim(strings.ReplaceAll(path, "/", "_"), "_")
				file := filepath.Join(*shots, "page_"+name[:min(len(name), 30)]+"-"+look.name+".png")
				if err := os.WriteFile(file, ask(tab, t, chromedp.FullScreenshot(100)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestAPageChangesWhileItIsLookedAt(t *testing.T) {
	h := furnished(t)
	tab := peers.StartChromium(t)
	err := chromedp.Do(tab, chromedp.Navigate(h.http.URL+"/incidents/i-7k2m"), chromedp.WaitVisible(chromedp.CSS(".timeline")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.journal.Append(t.Context(), "test", belay.AnySeq, belay.Event{
		At: start.Add(9 * time.Minute), Kind: belay.KindNoted, Service: checkout, Reason: "It was the cache.", Actor: "ada", Incident: incident("i-7k2m", belay.Resolved),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask(tab, t, chromedp.Poll[bool](`document.body.innerText.includes("It was the cache.")`, chromedp.WithPollingTimeout(time.Minute)))
	refused := ask(tab, t, chromedp.Evaluate[[]string](`[...document.querySelectorAll("[onclick],[style],script:not([src])")].map(e => e.outerHTML)`))
	if len(refused) > 0 {
		t.Errorf("the policy forbids what the page holds: %v", refused)
	}
}

func TestAPersonSignsInAndActsInABrowser(t *testing.T) {
	h := build(t, at(belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "opened", Incident: incident("i-7k2m", belay.Triggered)}), nil)
	server, err := web.New(scoped(t), h.opts)
	if err != nil {
		t.Fatal(err)
	}
	h.http.Config.Handler = server.Handler()
	tab := peers.StartChromium(t)
	err = chromedp.Do(tab,
		chromedp.Navigate(h.http.URL+"/incidents/i-7k2m"), // leads to the page to sign in
		chromedp.SetValue(chromedp.CSS("#token"), someToken("ada")),
		chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS("#words")), // and back
		chromedp.SetValue(chromedp.CSS("#words"), "half a sentence"),
	)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.journal.Append(t.Context(), "test", belay.AnySeq, belay.Event{
		At: start.Add(9 * time.Minute), Kind: belay.KindNoted, Service: checkout, Reason: "It was the cache.", Actor: "bob", Incident: incident("i-7k2m", belay.Triggered),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask(tab, t, chromedp.Poll[bool](`document.body.innerText.includes("It was the cache.")`, chromedp.WithPollingTimeout(time.Minute)))
	if words := ask(tab, t, chromedp.Evaluate[string](`document.querySelector("#words").value`)); words != "half a sentence" {
		t.Errorf("what somebody was typing became %q", words)
	}
	if err := chromedp.Do(tab, chromedp.Click(chromedp.CSS("#act button.primary"))); err != nil {
		t.Fatal(err)
	}
	h.asked(t)
	if got := strings.Join(h.calls.all(), "; "); got != "ack i-7k2m ada half a sentence" {
		t.Errorf("the button did %q", got)
	}
}

// What a phone shows of an incident can be pressed there.
func TestARollbackIsApprovedAndStoppedAndAnIncidentMergedInABrowser(t *testing.T) {
	proposed, counting := rollbackIn(belay.RollbackAwaiting), rollbackIn(belay.RollbackCountdown)
	proposed.Plan, proposed.ApproveUntil = "plan-1", start.Add(time.Hour)
	other := incident("i-9x1q", belay.Triggered)
	other.Service, other.Title = belay.ServiceID{Environment: "production", Name: "payments"}, "Payments is slow"
	for name, tc := range map[string]struct {
		rollback *belay.Rollback
		kind     belay.Kind
		press    []chromedp.Action[chromedp.Void]
		want     string
	}{
		"approve": {proposed, belay.KindProposed, []chromedp.Action[chromedp.Void]{
			chromedp.Click(chromedp.CSS(`form[action$="/approve"] button`)),
		}, "approve r-5f2c81d09a3e plan-1 ada"},
		"stop": {counting, belay.KindCountdown, []chromedp.Action[chromedp.Void]{
			chromedp.SetValue(chromedp.CSS(`form[action$="/stop"] input[name=text]`), "we look first"),
			chromedp.Click(chromedp.CSS(`form[action$="/stop"] button`)),
		}, "stop r-5f2c81d09a3e ada we look first"},
		"merge": {counting, belay.KindCountdown, []chromedp.Action[chromedp.Void]{
			chromedp.Click(chromedp.CSS("#more summary")),
			chromedp.WaitVisible(chromedp.CSS(`form[action$="/merge"] button`)),
			chromedp.Click(chromedp.CSS(`form[action$="/merge"] button`)),
		}, "merge i-7k2m ada i-9x1q"},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, at(
				belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "opened", Incident: incident("i-7k2m", belay.Triggered)},
				belay.Event{Kind: belay.KindOpened, Service: other.Service, Reason: "opened", Incident: other},
				belay.Event{Kind: tc.kind, Service: checkout, Reason: "as it says", Rollback: tc.rollback},
			), nil)
			server, err := web.New(scoped(t), h.opts)
			if err != nil {
				t.Fatal(err)
			}
			h.http.Config.Handler = server.Handler()
			tab := peers.StartChromium(t)
			steps := append([]chromedp.Action[chromedp.Void]{
				chromedp.EmulateViewport(390, 844),
				chromedp.Navigate(h.http.URL + "/incidents/i-7k2m"),
				chromedp.SetValue(chromedp.CSS("#token"), someToken("ada")),
				chromedp.Submit(chromedp.CSS("#token")),
				chromedp.WaitVisible(chromedp.CSS("#words")),
			}, tc.press...)
			if err := chromedp.Do(tab, steps...); err != nil {
				t.Fatal(err)
			}
			h.asked(t)
			if got := strings.Join(h.calls.all(), "; "); got != tc.want {
				t.Errorf("the button did %q, want %q", got, tc.want)
			}
		})
	}
}
