package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack/slacktest"
)

const channel = "#checkout-oncall"

// start runs a Slack and returns it with a way to make notifiers for it: a
// second one stands for Belay after a restart.
func start(t testing.TB) (*slacktest.Server, func() *Notifier) {
	t.Helper()
	server := slacktest.New(slacktest.Options{
		Token: "xoxb-test", Channels: []string{"general", "checkout-oncall"},
		Now: func() time.Time { return fired },
	})
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	return server, func() *Notifier { return notifierAt(t, web.URL+"/api/") }
}

func notifierAt(t testing.TB, url string) *Notifier {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("xoxb-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := New(alerting.Slack{APIURL: url, BotTokenFile: file}, alerting.SlackChannel{Channel: channel}, Options{
		HTTPClient: &http.Client{Timeout: 150 * time.Millisecond, Transport: transport(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func transport(t testing.TB) http.RoundTripper {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// deliver plays an outbox that goes by the last error alone: it asks for a
// search when that was ambiguous, and otherwise does not.
func deliver(t *testing.T, n *Notifier, m alerting.Message) (ref string, tries int) {
	t.Helper()
	for tries = 1; tries < 50; tries++ {
		ref, err := n.Notify(t.Context(), m)
		if err == nil {
			return ref, tries
		}
		if errors.Is(err, alerting.ErrPermanent) {
			t.Fatalf("try %d: %v", tries, err)
		}
		m.Retry = errors.Is(err, alerting.ErrAmbiguous)
	}
	t.Fatal("never delivered")
	return "", 0
}

func oneParent(t *testing.T, server *slacktest.Server) slacktest.Message {
	t.Helper()
	parents := server.Parents()
	if len(parents) != 1 {
		for _, p := range parents {
			t.Logf("parent %s, key %q, text %.60q", p.TS, p.Key(), p.Text)
		}
		t.Fatalf("the channel has %d parents, want 1", len(parents))
	}
	return parents[0]
}

func TestThereIsExactlyOneParent(t *testing.T) {
	for name, faults := range map[string]slacktest.Faults{
		"when all is well":                              {},
		"in a storm of rate limits":                     {RateLimit: 9},
		"when Slack stores it and never answers":        {AcceptThenTimeout: 1},
		"when Slack stores it and hangs up":             {AcceptThenTimeout: 1, HangUp: true},
		"when Slack stores it and answers 500":          {AcceptThenFail: 1},
		"when Slack is down and stores nothing":         {ServerError: 3},
		"when it is unsure, and then limited":           {Methods: []string{"chat.postMessage", "conversations.list"}, AcceptThenFail: 1},
		"when Slack answers late":                       {Delay: 200 * time.Millisecond, Methods: []string{"chat.update"}},
		"when Slack says that some of it may have been": {Refuse: 1, RefuseWith: "fatal_error"},
	} {
		t.Run(name, func(t *testing.T) {
			server, restart := start(t)
			server.SetFaults(faults)
			ref, _ := deliver(t, restart(), firing())
			if parent := oneParent(t, server); parent.Key() != firing().Key || !strings.HasSuffix(ref, ":"+parent.TS) {
				t.Errorf("ref %q does not name the parent %s with key %q", ref, parent.TS, parent.Key())
			}
		})
	}
}

func TestAnUnsurePostIsSearchedForHoweverOftenTheSearchFails(t *testing.T) {
	server, restart := start(t)
	n := restart()
	server.SetFaults(slacktest.Faults{AcceptThenFail: 1})
	m := firing()
	if _, err := n.Notify(t.Context(), m); !errors.Is(err, alerting.ErrAmbiguous) {
		t.Fatalf("got %v, want ambiguous", err)
	}
	for _, f := range []slacktest.Faults{
		{RateLimit: 1, RetryAfter: 7 * time.Second, Methods: []string{"conversations.list"}},
		{ServerError: 1, Methods: []string{"conversations.list"}},
		{RateLimit: 1, RetryAfter: 7 * time.Second, Methods: []string{"conversations.history"}},
		{ServerError: 1, Methods: []string{"conversations.history"}},
		{ServerError: 1, Methods: []string{"chat.update"}},
	} {
		server.SetFaults(f)
		m.Retry = true
		_, err := n.Notify(t.Context(), m)
		if !errors.Is(err, alerting.ErrAmbiguous) {
			t.Fatalf("with %+v: got %v, want it to stay ambiguous", f, err)
		}
		var later *alerting.RetryAfterError
		if f.RateLimit > 0 && (!errors.As(err, &later) || later.After != 7*time.Second) {
			t.Errorf("with %+v: got %v, want to be told to wait 7 s", f, err)
		}
	}
	deliver(t, n, m)
	oneParent(t, server)
}

func TestAKillBetweenPostAndCommitAdoptsTheMessageAndBringsItUpToDate(t *testing.T) {
	server, restart := start(t)
	first, _ := deliver(t, restart(), firing()) // killed here: the ref is never written down
	m := recovered()
	m.Retry = true
	again, _ := deliver(t, restart(), m)
	if again != first {
		t.Errorf("ref is %q, want the first one %q", again, first)
	}
	if parent := oneParent(t, server); parent.Edits != 1 || !strings.Contains(parent.Text, "🟢") {
		t.Errorf("the parent has %d edits and says %q, want the present truth", parent.Edits, parent.Text)
	}
}

func TestARepeatedReplyIsAdopted(t *testing.T) {
	server, restart := start(t)
	thread, _ := deliver(t, restart(), firing())
	r := reply(thread, belay.KindCountdown, "rolling back to 1.41.3 in 60 s")
	server.SetFaults(slacktest.Faults{AcceptThenTimeout: 1, Methods: []string{"chat.postMessage"}})
	ref, tries := deliver(t, restart(), r)
	if tries < 2 {
		t.Fatal("the fault did not happen")
	}
	messages := server.Messages(channel)
	if len(messages) != 2 || !strings.HasSuffix(ref, messages[1].TS) || messages[1].ThreadTS != messages[0].TS {
		t.Errorf("got %d messages, want a parent and one reply named %q", len(messages), ref)
	}
	other := reply(thread, belay.KindIntent, "rolling back to 1.41.3 now")
	other.Key, other.Retry = "i-1/9", true
	if ref2, _ := deliver(t, restart(), other); ref2 == ref {
		t.Error("another reply was taken for the first")
	}
}

// Nobody looks at the thread of what is over: that it goes on is said aloud.
func TestThatAnIncidentGoesOnIsSaidToTheChannel(t *testing.T) {
	server, restart := start(t)
	thread, _ := deliver(t, restart(), firing())
	for _, kind := range []belay.Kind{belay.KindResolved, belay.KindReopened} {
		r := reply(thread, kind, "as it says")
		r.Key += string(kind)
		deliver(t, restart(), r)
	}
	messages := server.Messages(channel)
	if len(messages) != 3 || messages[1].Aloud || !messages[2].Aloud {
		t.Errorf("%d messages: %+v", len(messages), messages)
	}
}

func TestAParentIsEditedInPlaceWithAllOfItsContent(t *testing.T) {
	server, restart := start(t)
	n := restart()
	m := firing()
	m.Ref, _ = deliver(t, n, m)
	for _, next := range []alerting.Message{countdown(), rollingBack(), recovered()} {
		next.Ref = m.Ref
		if ref, _ := deliver(t, n, next); ref != m.Ref {
			t.Errorf("ref changed to %q", ref)
		}
	}
	parent := oneParent(t, server)
	if parent.Edits != 3 || parent.Blocks == nil || parent.Key() != m.Key || !strings.Contains(parent.Text, "resolved after") {
		t.Errorf("after three edits the parent has %d edits, key %q, text %q, blocks %s", parent.Edits, parent.Key(), parent.Text, parent.Blocks)
	}
}

func TestAMessageThatCannotBeEditedIsPostedAnew(t *testing.T) {
	for _, code := range []string{"message_not_found", "cant_update_message", "edit_window_closed"} {
		t.Run(code, func(t *testing.T) {
			server, restart := start(t)
			n := restart()
			m := firing()
			old, _ := deliver(t, n, m)
			m = recovered()
			m.Ref = old
			server.SetFaults(slacktest.Faults{Refuse: 1, RefuseWith: code, Methods: []string{"chat.update"}})
			if ref, _ := deliver(t, n, m); ref == old {
				t.Error("the old ref was returned")
			}
			// A kill before the new ref is written down must not lead to a third one.
			server.SetFaults(slacktest.Faults{Refuse: 1, RefuseWith: code, Methods: []string{"chat.update"}})
			m.Retry = true
			deliver(t, restart(), m)
			if got := len(server.Parents()); got != 2 {
				t.Errorf("there are %d parents, want the old one and one new", got)
			}
		})
	}
}

func TestBlocksThatSlackRefusesAreLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		reject []string
		blocks int
	}{
		"no fields and no footer":   {[]string{"context"}, 3},
		"nothing but text is taken": {[]string{"header", "context"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server, restart := start(t)
			n := restart()
			server.SetFaults(slacktest.Faults{RejectBlocks: c.reject})
			m := countdown()
			m.Ref, _ = deliver(t, n, m)
			check := func() {
				t.Helper()
				parent := oneParent(t, server)
				var blocks []any
				if parent.Blocks != nil {
					if err := json.Unmarshal(parent.Blocks, &blocks); err != nil {
						t.Fatal(err)
					}
				}
				if len(blocks) != c.blocks || !strings.Contains(parent.Text, "rolling back to 1.41.3") || parent.Key() != m.Key {
					t.Errorf("got %d blocks, want %d; key %q, text %q", len(blocks), c.blocks, parent.Key(), parent.Text)
				}
			}
			check()
			deliver(t, n, m) // and the same for an edit
			check()
		})
	}
	t.Run("and when even text is refused, it is given up", func(t *testing.T) {
		server, restart := start(t)
		server.SetFaults(slacktest.Faults{Refuse: 3, RefuseWith: "msg_too_long"})
		if _, err := restart().Notify(t.Context(), firing()); !errors.Is(err, alerting.ErrPermanent) {
			t.Errorf("got %v, want permanent", err)
		}
	})
}

func TestErrorsAreOfTheKindThatTheOutboxActsOn(t *testing.T) {
	const permanent, ambiguous, limited, plain = "permanent", "ambiguous", "limited", "plain"
	kind := func(err error) string {
		var later *alerting.RetryAfterError
		switch {
		case err == nil:
			return "none"
		case errors.Is(err, alerting.ErrPermanent):
			return permanent
		case errors.Is(err, alerting.ErrAmbiguous):
			return ambiguous
		case errors.As(err, &later):
			return limited
		}
		return plain
	}
	refused := func(code string) slacktest.Faults { return slacktest.Faults{Refuse: 1, RefuseWith: code} }
	for name, c := range map[string]struct {
		faults     slacktest.Faults
		post, edit string
	}{
		"a rate limit":               {slacktest.Faults{RateLimit: 1}, limited, limited},
		"a rate limit in words":      {refused("ratelimited"), limited, limited},
		"a server error":             {slacktest.Faults{ServerError: 1}, ambiguous, plain},
		"no answer":                  {slacktest.Faults{AcceptThenTimeout: 1}, ambiguous, plain},
		"no connection left":         {slacktest.Faults{AcceptThenTimeout: 1, HangUp: true}, ambiguous, plain},
		"an internal error":          {refused("internal_error"), ambiguous, plain},
		"an incomplete request":      {refused("request_timeout"), plain, plain},
		"an unknown channel":         {refused("channel_not_found"), permanent, permanent},
		"a bad token":                {refused("invalid_auth"), permanent, permanent},
		"a channel without the app":  {refused("not_in_channel"), permanent, permanent},
		"a code nobody has heard of": {refused("moon_phase"), permanent, permanent},
	} {
		t.Run(name, func(t *testing.T) {
			server, restart := start(t)
			n := restart()
			m := firing()
			m.Ref, _ = deliver(t, n, m)
			server.SetFaults(c.faults)
			if _, err := n.Notify(t.Context(), m); kind(err) != c.edit {
				t.Errorf("an edit gives %q (%v), want %q", kind(err), err, c.edit)
			}
			m.Ref = ""
			server.SetFaults(c.faults)
			if _, err := n.Notify(t.Context(), m); kind(err) != c.post {
				t.Errorf("a post gives %q (%v), want %q", kind(err), err, c.post)
			}
		})
	}
	t.Run("a refused connection", func(t *testing.T) {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		n := notifierAt(t, "http://"+ln.Addr().String()+"/api/")
		if _, err := n.Notify(t.Context(), firing()); kind(err) != plain {
			t.Errorf("got %q (%v), want plain", kind(err), err)
		}
	})
	t.Run("an end before anything was written", func(t *testing.T) {
		_, restart := start(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := restart().Notify(ctx, firing()); kind(err) != plain {
			t.Errorf("got %q (%v), want plain", kind(err), err)
		}
	})
	t.Run("a page of a proxy instead of an answer", func(t *testing.T) {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, "<html>please log in</html>")
		}))
		defer web.Close()
		if _, err := notifierAt(t, web.URL).Notify(t.Context(), firing()); kind(err) != ambiguous {
			t.Errorf("got %q (%v), want ambiguous", kind(err), err)
		}
	})
	t.Run("an answer that names no message", func(t *testing.T) {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, "{}")
		}))
		defer web.Close()
		if _, err := notifierAt(t, web.URL).Notify(t.Context(), firing()); kind(err) != ambiguous {
			t.Errorf("got %q (%v), want ambiguous", kind(err), err)
		}
	})
	t.Run("a reply without a parent", func(t *testing.T) {
		_, restart := start(t)
		if _, err := restart().Notify(t.Context(), reply("", belay.KindNoted, "x")); kind(err) != permanent {
			t.Errorf("got %q (%v), want permanent", kind(err), err)
		}
	})
}

func TestWhereSlackForbidsToLookTheMessageIsPostedAnyway(t *testing.T) {
	server, restart := start(t)
	server.SetFaults(slacktest.Faults{Refuse: 1, RefuseWith: "missing_scope", Methods: []string{"conversations.list"}})
	m := firing()
	m.Retry = true
	deliver(t, restart(), m)
	oneParent(t, server)
}

func TestAMessageIsFoundBehindManyOthers(t *testing.T) {
	server, restart := start(t)
	n := restart()
	first, _ := deliver(t, n, firing())
	for i := range 2 * pageSize {
		other := firing()
		other.Key = fmt.Sprintf("other-%d", i)
		deliver(t, n, other)
	}
	m := firing()
	m.Retry = true
	if ref, _ := deliver(t, restart(), m); ref != first {
		t.Errorf("found %q, want %q", ref, first)
	}
	if got := len(server.Parents()); got != 2*pageSize+1 {
		t.Errorf("there are %d parents, want %d", got, 2*pageSize+1)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		app     alerting.Slack
		channel string
		want    string
	}{
		"no channel":     {alerting.Slack{BotTokenFile: empty}, "#", "no channel"},
		"no token":       {alerting.Slack{}, channel, "no bot token is set"},
		"no token file":  {alerting.Slack{BotTokenFile: filepath.Join(dir, "none")}, channel, "bot_token_file"},
		"an empty token": {alerting.Slack{BotTokenFile: empty}, channel, "empty"},
	} {
		if _, err := New(c.app, alerting.SlackChannel{Channel: c.channel}, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
}
