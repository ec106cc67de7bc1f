package web_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/net/html"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

func (h *house) page(t testing.TB, path string) (int, http.Header, string) {
	t.Helper()
	return h.send(t, "GET", path, "", "Accept", "text/html,application/xhtml+xml")
}

func TestPagesTellWhatThereIs(t *testing.T) {
	h := furnished(t)
	for path, want := range map[string][]string{
		"/":                             {"checkout", "v1.4.2", "Alert CheckoutErrors is firing.", "Belay put this revision back.", "/incidents/i-7k2m", "The review is drafted."},
		"/services/production/checkout": {"Known revisions", "b16b00b5b16b", "held", "https://ci.example.org/42", "a rollback of Belay", "What its rules say"},
		"/incidents":                    {"Checkout answers with errors", "lasted 3 min", "resolved"},
		"/incidents/i-7k2m":             {"v1.4.3 was put in place of v1.4.2.", "All 7 guards agree", "known good since yesterday", "✔", "0.184", "&gt; 0.02", "/reviews/i-7k2m", "slack #checkout-oncall", "1 sent", "score 0.94"},
		"/rollbacks":                    {"r-5f2c81d09a3e", "recovered"},
		"/reviews/i-7k2m":               {"<h1>Checkout answers with errors</h1>", `src="/reviews/i-7k2m.svg"`, "<table>"},
		"/alerts":                       {"CheckoutErrors", "pending", "service=search"},
		"/targets":                      {"http://127.0.0.1:8080/metrics", "connection refused", "down"},
		"/rules":                        {"rules/checkout.yml", "every 15 s", "too many samples"},
		"/status":                       {"v0.1.0", "ready", "14 events", "Belay v0.1.0 has started.", "the oldest for 3 s"},
	} {
		code, header, body := h.page(t, path)
		if code != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d %s", path, code, header.Get("Content-Type"))
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q", path, w)
			}
		}
	}
}

func TestEmptyPagesSaySo(t *testing.T) {
	h := build(t, nil, func(o *web.Options) { o.Services = nil })
	for path, want := range map[string]string{
		"/": "No service is configured", "/incidents": "No incident yet", "/rollbacks": "None was ever considered",
		"/alerts": "No alert is pending or firing", "/targets": "Nothing is scraped", "/rules": "No rule is loaded", "/status": "Nothing yet",
	} {
		if code, _, body := h.page(t, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, lacks %q", path, code, want)
		}
	}
}

func TestARefusalShowsWhichGuardSaidNo(t *testing.T) {
	r := rollbackIn(belay.RollbackRefused)
	r.Answers[4] = belay.Answer{Step: 5, Guard: "known_good", Veto: "No revision of checkout is known to be good."}
	r.Answers = r.Answers[:5]
	h := build(t, at(
		belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "opened", Incident: incident("i-7k2m", belay.Triggered)},
		belay.Event{Kind: belay.KindRefused, Service: checkout, Reason: "No revision of checkout is known to be good.", Rollback: r},
	), func(o *web.Options) { o.KillSwitch = func() string { return "ada set it: maintenance" } })
	_, _, body := h.page(t, "/incidents/i-7k2m")
	for _, want := range []string{"1 of 5 guards says no", "✖", "No revision of checkout is known to be good.", "belay incident ack i-7k2m", "belay rollback plan production/checkout", "The kill switch is set.", "ada set it: maintenance"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Index(body, "✔") > strings.Index(body, "✖") {
		t.Error("the answers are out of order")
	}
}

func TestPagesThatAreNotThereAreReadable(t *testing.T) {
	h := build(t, nil, nil)
	for _, path := range []string{"/nothing", "/incidents/none", "/services/production/none", "/reviews/none", "/reviews/none.svg", "/services/production"} {
		code, header, body := h.page(t, path)
		if code != 404 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(body, "Not Found") || !strings.Contains(body, "All services") {
			t.Errorf("%s: %d %s", path, code, header.Get("Content-Type"))
		}
	}
	code, header, body := h.send(t, "PUT", "/incidents", "", "Accept", "text/html", "Authorization", "Bearer "+token())
	if code != 405 || header.Get("Allow") != "GET, HEAD" || !strings.Contains(body, "Method Not Allowed") {
		t.Errorf("PUT: %d, allow %q", code, header.Get("Allow"))
	}
	if _, header, _ := h.send(t, "GET", "/nothing", ""); header.Get("Content-Type") != "application/json" {
		t.Errorf("a program got %s", header.Get("Content-Type"))
	}
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	h := furnished(t)
	paths := append(pagePaths(), "/metrics", "/-/healthy", "/-/ready", "/api/belay/v1/status", "/api/belay/v1/none", "/assets/style.css", "/assets/live.js")
	for _, path := range paths {
		_, header, _ := h.page(t, path)
		csp := header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: headers %v", path, header)
		}
	}
}

// dangers returns what in a page could run or load something foreign.
func dangers(t testing.TB, page string) (found []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "iframe", "object", "embed", "form", "base", "style", "svg", "math", "template":
			found = append(found, n.Data)
		}
		for _, a := range n.Attr {
			key, value := strings.ToLower(a.Key), strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(key, "on"), key == "style", key == "srcdoc":
				found = append(found, n.Data+" "+key)
			case key == "src" && !strings.HasPrefix(value, "/"), key == "href" && (strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "data:") || strings.HasPrefix(value, "vbscript:")):
				found = append(found, n.Data+" "+key+"="+value)
			case n.Data == "script" && key == "src" && value != "/assets/live.js":
				found = append(found, "script "+value)
			}
		}
		if n.Data == "script" && n.FirstChild != nil {
			found = append(found, "inline script")
		}
	}
	return found
}

func TestHostileTextIsOnlyText(t *testing.T) {
	evil := belay.Revision{Content: hostile, Version: hostile}
	i := incident("i-7k2m", belay.Acknowledged)
	i.Title, i.Severity, i.AcknowledgedBy, i.AcknowledgedAt = hostile, hostile, hostile, start
	i.Alerts[0].Rule, i.Alerts[0].Condition = hostile, hostile
	i.Alerts[0].Labels = labels.FromStrings("alertname", hostile, "service", "checkout", "path", hostile)
	i.Alerts[0].Annotations = map[string]string{"summary": hostile}
	r := rollbackIn(belay.RollbackRefused)
	r.From, r.To, r.Reason, r.OrderedBy, r.ID = evil, evil, hostile, hostile, "r-"+hostile
	r.Answers = []belay.Answer{{Step: 1, Guard: hostile, Veto: hostile}, {Step: 2, Guard: hostile, Says: hostile}}
	r.Suspects[0].Why = hostile
	d := belay.Deployment{ID: "d-1", Service: checkout, From: evil, To: evil, StartedAt: start, Actor: hostile, URL: "javascript:alert(1)", Result: "failed"}
	h := build(t, at(
		belay.Event{Kind: belay.KindStarted, Reason: hostile},
		belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: hostile, Actor: hostile, Incident: i},
		belay.Event{Kind: belay.KindRefused, Service: checkout, Reason: hostile, Rollback: r},
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: hostile, Deployment: &d},
		belay.Event{Kind: belay.KindLedger, Service: checkout, Reason: hostile, Ledger: &belay.LedgerEntry{Service: checkout, Revision: evil, Standing: belay.Standing(hostile), Held: true}},
		belay.Event{Kind: belay.KindDelivery, Service: checkout, Reason: hostile, Delivery: &belay.Delivery{Destination: hostile, Incident: "i-7k2m", Key: "k", Kind: hostile, Result: "dead", Detail: hostile}},
		belay.Event{Kind: belay.KindReview, Service: checkout, Reason: hostile, Review: &belay.Review{Incident: "i-7k2m", State: hostile, Files: []string{"i-7k2m.md", "i-7k2m.svg"}}},
	), func(o *web.Options) {
		o.Alerts = func() []belay.Alert { return i.Alerts }
		o.Judgements = func() []belay.Judgement {
			return []belay.Judgement{{Rule: hostile, Labels: i.Alerts[0].Labels, Verdict: belay.Unknown, Reason: hostile}}
		}
		o.Targets = func() []web.TargetInfo {
			return []web.TargetInfo{{Job: hostile, URL: hostile, Labels: i.Alerts[0].Labels, Error: hostile}}
		}
		o.Rules = func() []web.RuleGroupInfo {
			return []web.RuleGroupInfo{{Name: hostile, File: hostile, Rules: []web.RuleInfo{{Name: hostile, Expr: hostile, Labels: i.Alerts[0].Labels, Error: hostile}}}}
		}
		o.KillSwitch = func() string { return hostile }
		o.Version = hostile
	})
	h.write(t, "i-7k2m.md", "# "+hostile+"\n\n"+hostile+"\n\n[x](javascript:alert(1)) ![y](https://evil.example.com/y.png) ![z](data:image/svg+xml,x)\n\n<iframe src=x></iframe>\n")
	for _, path := range append(pagePaths(), "/"+hostile, "/incidents/"+"%3Cscript%3Ealert(1)%3C%2Fscript%3E") {
		_, header, body := h.page(t, strings.ReplaceAll(path, " ", "%20"))
		if !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			t.Errorf("%s is %s", path, header.Get("Content-Type"))
		}
		if found := dangers(t, body); len(found) > 0 {
			t.Errorf("%s holds %q", path, found)
		}
	}
	if code, _, body := h.send(t, "GET", "/metrics", ""); code != 200 || !strings.Contains(body, "belay_service_info") {
		t.Errorf("hostile text breaks the metrics: %d", code)
	}
}

func TestADrawingCanDoNothing(t *testing.T) {
	h := furnished(t)
	code, header, body := h.send(t, "GET", "/reviews/i-7k2m.svg", "")
	if code != 200 || header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(body, "<svg") {
		t.Fatalf("%d %s", code, header.Get("Content-Type"))
	}
	csp := header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "sandbox") || strings.Contains(csp, "script-src") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", header)
	}
}

func TestOnlyFilesOfReviewsAreRead(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.md")
	if err := os.WriteFile(secret, []byte("the secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var h *house
	name := func(incident string, files ...string) belay.Event {
		return belay.Event{Kind: belay.KindReview, Reason: "r", At: start, Review: &belay.Review{Incident: incident, State: "draft", Files: files}}
	}
	rel := "../" + filepath.Base(outside) + "/secret.md"
	h = build(t, at(
		name("up", rel), name("absolute", secret), name("link", "link.md"), name("hidden", ".secret.md"), name("folder", "folder.md"),
		name("back", `..\secret.md`), name("gone", "gone.md"), name("dots", ".."), name("none"), name("fine", "fine.md"), name("../../etc", "fine.md"),
	), nil)
	if err := os.Symlink(secret, filepath.Join(h.reviews, "link.md")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.reviews, "folder.md"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.write(t, ".secret.md", "the secret")
	h.write(t, "unknown.md", "the secret") // in the folder, but of no review
	h.write(t, "fine.md", "all is well")
	for _, path := range []string{
		"up", "absolute", "link", "hidden", "folder", "back", "gone", "dots", "none", "unknown", "unknown.md", "fine.svg", "up.svg",
		"..%2Fsecret.md", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "link.md", "..", "fine.md",
	} {
		for _, prefix := range []string{"/reviews/", "/api/belay/v1/reviews/"} {
			code, _, body := h.page(t, prefix+path)
			if code != 404 && code != 301 && code != 307 || strings.Contains(body, "the secret") {
				t.Errorf("%s%s: %d %s", prefix, path, code, body)
			}
		}
	}
	for _, path := range []string{"fine", "..%2F..%2Fetc"} {
		if code, _, body := h.page(t, "/reviews/"+path); code != 200 || !strings.Contains(body, "all is well") {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestTheStateOfAServiceIsTheWorstThatIsKnown(t *testing.T) {
	judged := func(v belay.Verdict) []belay.Judgement {
		return []belay.Judgement{{Rule: "CheckoutErrors", Labels: labels.FromStrings("service", "checkout"), Verdict: v, Reason: "the target is down"}}
	}
	opened := belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "r", Incident: incident("i-1", belay.Triggered)}
	acting := belay.Event{Kind: belay.KindIntent, Service: checkout, Reason: "r", Rollback: rollbackIn(belay.RollbackConverging)}
	watching := alert(belay.AlertFiring)
	watching.Observe = true
	for _, c := range []struct {
		name       string
		events     []belay.Event
		judgements []belay.Judgement
		alerts     []belay.Alert
		want, why  string
	}{
		{"nobody has judged it", nil, nil, nil, "unknown", "No rule has judged"},
		{"another service was judged", nil, []belay.Judgement{{Rule: "x", Labels: labels.FromStrings("service", "search"), Verdict: belay.Pass}}, nil, "unknown", "No rule has judged"},
		{"every rule is green", nil, judged(belay.Pass), nil, "healthy", "No rule of this service"},
		{"a rule cannot see", nil, judged(belay.Unknown), []belay.Alert{alert(belay.AlertPending)}, "unknown", "the target is down"},
		{"an alert is pending", nil, judged(belay.Fail), []belay.Alert{alert(belay.AlertPending)}, "pending", "CheckoutErrors is pending"},
		{"an alert only observes", nil, judged(belay.Pass), []belay.Alert{watching}, "healthy", "No rule"},
		{"an incident is open", []belay.Event{opened}, judged(belay.Unknown), nil, "incident", "Checkout answers with errors"},
		{"a rollback acts", []belay.Event{opened, acting}, judged(belay.Fail), nil, "rolling_back", "Every guard agrees"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t, at(c.events...), func(o *web.Options) {
				o.Judgements = func() []belay.Judgement { return c.judgements }
				o.Alerts = func() []belay.Alert { return c.alerts }
			})
			_, _, body := h.send(t, "GET", "/api/belay/v1/services/production/checkout", "")
			if !strings.Contains(body, `"state": "`+c.want+`"`) || !strings.Contains(body, c.why) {
				t.Errorf("want %s, %s:\n%s", c.want, c.why, body)
			}
			_, _, metrics := h.send(t, "GET", "/metrics", "")
			if want := `belay_service_state{environment="production",service="checkout",state="` + c.want + `"} 1`; !strings.Contains(metrics, want) {
				t.Errorf("metrics lack %s", want)
			}
			if n := strings.Count(metrics, `belay_service_state{environment="production",service="checkout"`); n != 5 {
				t.Errorf("%d series of the state, want 5", n)
			}
		})
	}
}

func FuzzAReviewCanDoNothing(f *testing.F) {
	f.Add(reviewMarkdown)
	f.Add(hostile)
	f.Add("[a](javascript:alert(1)) <javascript:alert(1)> ![b](i-1.svg) ![c](//x/y)")
	f.Add("[a]: data:text/html,x\n\n[a] | b\n-|-\n`<b>`")
	h := build(f, at(belay.Event{Kind: belay.KindReview, Reason: "r", At: time.Now(), Review: &belay.Review{Incident: "i-1", State: "draft", Files: []string{"i-1.md", "i-1.svg"}}}), nil)
	f.Fuzz(func(t *testing.T, text string) {
		h.write(t, "i-1.md", text)
		code, _, body := h.page(t, "/reviews/i-1")
		if code != 200 {
			t.Fatalf("status %d", code)
		}
		if found := dangers(t, body); len(found) > 0 {
			t.Errorf("the page holds %q", found)
		}
	})
}

func TestWhoWasToldIsSummedUpByDestination(t *testing.T) {
	message := func(to, key, result, detail string) belay.Event {
		return belay.Event{Kind: belay.KindDelivery, Service: checkout, Reason: "r", Delivery: &belay.Delivery{Destination: to, Incident: "i-7k2m", Key: key, Kind: "reply", Result: result, Detail: detail}}
	}
	h := build(t, at(
		belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "opened", Incident: incident("i-7k2m", belay.Triggered)},
		message("slack", "1", "begun", ""), message("slack", "1", "sent", ""), message("slack", "2", "adopted", ""),
		message("webhook", "1", "dead", "410 Gone"), message("webhook", "2", "retry", "503"), message("webhook", "3", "sent", ""),
	), nil)
	_, _, body := h.page(t, "/incidents/i-7k2m")
	for _, want := range []string{"2 sent</span>", "1 sent, 1 on the way, 1 given up · 503"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestTimesAreWrittenForPeople(t *testing.T) {
	now := start.Add(10 * time.Minute)
	for want, d := range map[string]belay.Deployment{
		"took 1 min 5 s": {StartedAt: now.Add(-2 * time.Hour), FinishedAt: now.Add(-2*time.Hour + 65*time.Second)},
		"took 350 ms":    {StartedAt: now.Add(-time.Hour), FinishedAt: now.Add(-time.Hour + 350*time.Millisecond)},
		"took 2.5 s":     {StartedAt: now.Add(-time.Hour), FinishedAt: now.Add(-time.Hour + 2550*time.Millisecond)},
		"2 d 3 h ago":    {StartedAt: now.Add(-51*time.Hour - time.Minute)},
		"5 h 20 min ago": {StartedAt: now.Add(-5*time.Hour - 20*time.Minute)},
		"just now":       {StartedAt: now.Add(-time.Millisecond)},
		"in 42 s":        {StartedAt: now.Add(42 * time.Second)}, // a platform's clock runs ahead
		"in place":       {StartedAt: now, FinishedAt: now},
		"under way":      {StartedAt: now},
	} {
		d.ID, d.Service, d.To = "d-1", checkout, good
		h := build(t, at(belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &d}), nil)
		if _, _, body := h.page(t, "/services/production/checkout"); !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
