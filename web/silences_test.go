package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web"
)

// post sends a form of a page as ada, who has signed in.
func (h *house) post(t testing.TB, path string, fields url.Values) (code int, body string) {
	t.Helper()
	cookie, csrf := h.signIn(t, someToken("ada"))
	fields.Set("csrf", csrf)
	code, _, body = h.send(t, "POST", path, fields.Encode(), "Content-Type", form, "Cookie", cookie, "Origin", h.http.URL)
	return code, body
}

func TestASilenceIsMadeAndEndedByForms(t *testing.T) {
	h := with(t, scoped(t))
	code, body := h.post(t, "/silences", url.Values{"matchers": {`alertname="CheckoutErrors", service=~"checkout|search"`}, "length": {"2h"}, "text": {"the cache is being moved"}})
	if code != http.StatusSeeOther {
		t.Fatalf("status %d: %s", code, body)
	}
	if code, body := h.post(t, "/silences/s-1/expire", url.Values{}); code != http.StatusSeeOther {
		t.Fatalf("status %d: %s", code, body)
	}
	want := `silence alertname="CheckoutErrors" service=~"checkout|search" 2h0m0s ada the cache is being moved; expire s-1 ada`
	if got := strings.Join(h.calls.all(), "; "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFormThatMakesNoSilenceSaysWhy(t *testing.T) {
	h := with(t, scoped(t))
	for name, c := range map[string]struct{ matchers, length, want string }{
		"half a matcher":     {`alertname`, "1h", "the matchers cannot be read"},
		"a regex that isn't": {`a=~"("`, "1h", "the matchers cannot be read"},
		"no length":          {`a="b"`, "", "the length of a silence must be a time"},
		"for ever":           {`a="b"`, "10y", "at most 31d"},
		"no time at all":     {`a="b"`, "0s", "the length of a silence must be a time"},
	} {
		if code, body := h.post(t, "/silences", url.Values{"matchers": {c.matchers}, "length": {c.length}}); code != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s: status %d, without %q: %s", name, code, c.want, body)
		}
	}
	if got := h.calls.all(); len(got) > 0 {
		t.Errorf("done all the same: %v", got)
	}
}

func TestThePageOfSilencesShowsWhatEachMutes(t *testing.T) {
	h := furnished(t)
	_, _, body := h.send(t, "GET", "/silences", "", "Accept", "text/html")
	for _, want := range []string{"mutes 1 firing now", "the cache is being moved", "ended 1 h ago", "Sign in"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, hostile) {
		t.Error("a comment is part of the page")
	}
}

func TestAnAlertIsSilencedInABrowser(t *testing.T) {
	h := build(t, loop(), func(o *web.Options) {
		o.Alerts = func() []belay.Alert { return []belay.Alert{alert(belay.AlertFiring)} }
	})
	server, err := web.New(scoped(t), h.opts)
	if err != nil {
		t.Fatal(err)
	}
	h.http.Config.Handler = server.Handler()
	tab := peers.StartChromium(t)
	err = chromedp.Do(tab,
		chromedp.EmulateViewport(390, 844),
		chromedp.Navigate(h.http.URL+"/alerts"),
		chromedp.SetValue(chromedp.CSS("#token"), someToken("ada")),
		chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS(`a[href^="/silences?"]`)),
		chromedp.Click(chromedp.CSS(`a[href^="/silences?"]`)),
		chromedp.WaitVisible(chromedp.CSS("#why")),
		chromedp.SetValue(chromedp.CSS("#why"), "known, and being mended"),
		chromedp.Click(chromedp.CSS("#silence button.primary")),
		chromedp.WaitVisible(chromedp.CSS("#silence")),
	)
	if err != nil {
		t.Fatal(err)
	}
	h.asked(t)
	want := `silence alertname="CheckoutErrors" service="checkout" 2h0m0s ada known, and being mended`
	if got := strings.Join(h.calls.all(), "; "); got != want {
		t.Errorf("the form did %q, want %q", got, want)
	}
}

// asked waits until something was asked for.
func (h *house) asked(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(time.Minute); len(h.calls.all()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was asked for")
		}
	}
}
