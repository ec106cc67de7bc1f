package alerting_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// timed is a configuration whose routes each show one thing about time; an
// alert names its route by the label "case".
const timed = `
route:
  receiver: root
  group_by: [case]
  group_wait: 1s
  group_interval: 3s
  repeat_interval: 1h
  routes:
    - {matchers: [case="wait"], receiver: wait}
    - {matchers: [case="repeat"], receiver: repeat, group_interval: 2s, repeat_interval: 3500ms}
    - {matchers: [case="apart"], receiver: apart, group_by: [case, n]}
    - {matchers: [case="all"], receiver: all, group_by: ['...']}
    - {matchers: [case="muted"], receiver: muted, mute_time_intervals: [always]}
    - {matchers: [case="unmuted"], receiver: unmuted, mute_time_intervals: [never]}
    - {matchers: [case="idle"], receiver: idle, active_time_intervals: [never]}
    - {matchers: [case="busy"], receiver: busy, active_time_intervals: [always]}
    - {matchers: [case="twice"], receiver: first, continue: true}
    - {matchers: [case="twice"], receiver: second, group_wait: 2s}
    - {matchers: [case="target"], receiver: target, group_interval: 2s}
    - {matchers: [case="silenced"], receiver: silenced, group_interval: 2s}
    - {matchers: [case="resolved"], receiver: resolved}
    - {matchers: [case="brief"], receiver: brief}
inhibit_rules:
  - {source_matchers: [case="source"], target_matchers: [case="target"], equal: [n]}
time_intervals:
  - {name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}
  - {name: never, time_intervals: [{years: ['2001']}]}
receivers: [RECEIVERS]
`

var timedReceivers = []string{
	"root", "wait", "repeat", "apart", "all", "muted", "unmuted", "idle", "busy", "first", "second", "target", "silenced", "resolved", "brief",
}

// A step is something that happens to the alerts of the story.
type step struct {
	at   time.Duration
	name string // case and number: "wait 1"
	ends bool
}

// story is what both sides are told, in the same rhythm.
var story = []step{
	{0, "wait 1", false},
	{300 * time.Millisecond, "wait 2", false},
	{2 * time.Second, "wait 3", false},
	{0, "repeat 1", false},
	{0, "apart 1", false},
	{500 * time.Millisecond, "apart 2", false},
	{0, "all 1", false},
	{0, "muted 1", false},
	{0, "unmuted 1", false},
	{0, "idle 1", false},
	{0, "busy 1", false},
	{0, "twice 1", false},
	{0, "source 1", false},
	{200 * time.Millisecond, "target 1", false},
	{200 * time.Millisecond, "target 2", false},
	{4500 * time.Millisecond, "source 1", true},
	{0, "silenced 1", false},
	{0, "resolved 1", false},
	{0, "resolved 2", false},
	{2 * time.Second, "resolved 1", true},
	{0, "brief 1", false},
	{500 * time.Millisecond, "brief 1", true},
}

// The silence of the story lasts this long.
const silencedFor = 4500 * time.Millisecond

const storyEnds = 10 * time.Second

// A heard is one notification as a receiver got it.
type heard struct {
	at       time.Duration
	firing   string
	resolved string
}

func (h heard) String() string {
	return fmt.Sprintf("%s firing [%s] resolved [%s]", h.at.Round(100*time.Millisecond), h.firing, h.resolved)
}

func config(t *testing.T, text string, address func(receiver string) string, names ...string) string {
	t.Helper()
	var rs []string
	for _, n := range names {
		rs = append(rs, fmt.Sprintf("{name: %s, webhook_configs: [{url: '%s'}]}", n, address(n)))
	}
	return strings.Replace(text, "RECEIVERS", strings.Join(rs, ", "), 1)
}

// ours plays the story to Belay on a clock of its own.
func ours(t *testing.T) map[string][]heard {
	t.Helper()
	got := map[string][]heard{}
	text := config(t, timed, func(string) string { return "http://127.0.0.1:9/" }, timedReceivers...)
	synctest.Test(t, func(t *testing.T) {
		s := newGroupStage(t, text)
		began := time.Now()
		stop := start(t, s.run)
		synctest.Wait()
		s.silence(t, belay.Silence{Matchers: []string{`case="silenced"`}, StartsAt: began, EndsAt: began.Add(silencedFor), CreatedBy: "test"})
		steps := slices.Clone(story)
		slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
		for _, st := range steps {
			time.Sleep(time.Until(began.Add(st.at)))
			s.post(t, incoming(st, time.Now()))
		}
		time.Sleep(time.Until(began.Add(storyEnds)))
		synctest.Wait()
		stop()
		for name, all := range s.heard {
			for _, h := range all {
				h.at -= time.Duration(began.UnixNano())
				got[name] = append(got[name], h)
			}
		}
	})
	return got
}

func incoming(st step, now time.Time) alerting.Incoming {
	name, n, _ := strings.Cut(st.name, " ")
	in := alerting.Incoming{Labels: map[string]string{"alertname": "A", "case": name, "n": n}}
	if st.ends {
		in.EndsAt = now
	}
	return in
}

// A groupStage is Groups, Silences and an Inbox on one journal.
type groupStage struct {
	journal  belay.Journal
	silences *alerting.Silences
	inbox    *alerting.Inbox
	groups   *alerting.Groups
	mu       sync.Mutex
	heard    map[string][]heard // by receiver; at is Unix time
	fault    func(alerting.Message) error
}

func newGroupStage(t *testing.T, text string, on ...belay.Journal) *groupStage {
	t.Helper()
	s := &groupStage{heard: map[string][]heard{}, journal: newMemory()}
	if len(on) > 0 {
		s.journal = on[0]
	}
	c, ps := load(t, text, nil)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	s.silences = alerting.NewSilences(s.journal, nil, nil)
	s.inbox = alerting.NewInbox(s.journal, alerting.InboxOptions{})
	if err := errors.Join(s.silences.Load(t.Context()), s.inbox.Load(t.Context())); err != nil {
		t.Fatal(err)
	}
	var to []alerting.Destination
	for _, d := range c.Destinations(nil) {
		to = append(to, alerting.Destination{Name: d.Name, Receivers: d.Receivers, SendResolved: d.SendResolved, Notifier: ear{s, d.Receivers[0]}})
	}
	var err error
	s.groups, err = alerting.NewGroups(alerting.GroupsOptions{
		Journal: s.journal, Routing: alerting.NewRouting(c.Upstream), Silences: s.silences, Destinations: to, Match: byService,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *groupStage) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = s.silences.Run(ctx) })
	wg.Go(func() { _ = s.inbox.Run(ctx) })
	return s.groups.Run(ctx)
}

func (s *groupStage) post(t *testing.T, in ...alerting.Incoming) {
	t.Helper()
	if err := s.inbox.Post(t.Context(), in, "test"); err != nil {
		t.Fatal(err)
	}
}

func (s *groupStage) silence(t *testing.T, sil belay.Silence) string {
	t.Helper()
	id, err := s.silences.Set(t.Context(), sil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// said is what the receiver "ops" heard.
func (s *groupStage) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, h := range s.heard["ops"] {
		out = append(out, fmt.Sprintf("firing [%s] resolved [%s]", h.firing, h.resolved))
	}
	return out
}

// An ear hears for one receiver. It has no threads.
type ear struct {
	s        *groupStage
	receiver string
}

func (e ear) Threadless() {}

func (e ear) Notify(_ context.Context, m alerting.Message) (string, error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.s.fault != nil {
		if err := e.s.fault(m); err != nil {
			return "", err
		}
	}
	h := heard{at: time.Duration(time.Now().UnixNano())}
	for _, a := range m.Group.Alerts {
		if a.State == belay.AlertFiring {
			h.firing += a.Labels.Get("n")
		} else {
			h.resolved += a.Labels.Get("n")
		}
	}
	e.s.heard[e.receiver] = append(e.s.heard[e.receiver], h)
	return "", nil
}

// theirs plays the story to a real Alertmanager, by the clock on the wall.
func theirs(t *testing.T) map[string][]heard {
	t.Helper()
	bin, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	var (
		mu    sync.Mutex
		got   = map[string][]heard{}
		began time.Time
	)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		err := json.NewDecoder(r.Body).Decode(&body)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		h := heard{at: time.Since(began)}
		for _, a := range body.Alerts {
			if a.Status == "firing" {
				h.firing += a.Labels["n"]
			} else {
				h.resolved += a.Labels["n"]
			}
		}
		name := strings.TrimPrefix(r.URL.Path, "/")
		got[name] = append(got[name], h)
	}))
	defer hook.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	text := config(t, timed, func(r string) string { return hook.URL + "/" + r }, timedReceivers...)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cmd := exec.CommandContext(t.Context(), bin, "--config.file="+file, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--cluster.listen-address=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	api := amClient{t, "http://" + address + "/api/v2"}
	api.ready()
	mu.Lock()
	began = time.Now()
	mu.Unlock()
	api.post("/silences", map[string]any{
		"matchers": []any{map[string]any{"name": "case", "value": "silenced", "isRegex": false}}, "createdBy": "test", "comment": "test",
		"startsAt": began.UTC(), "endsAt": began.Add(silencedFor).UTC(),
	})
	steps := slices.Clone(story)
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	for _, st := range steps {
		time.Sleep(time.Until(began.Add(st.at)))
		in := incoming(st, time.Now())
		sent := map[string]any{"labels": in.Labels}
		if st.ends {
			sent["endsAt"] = in.EndsAt.UTC()
		}
		api.post("/alerts", []any{sent})
	}
	time.Sleep(time.Until(began.Add(storyEnds)))
	mu.Lock()
	defer mu.Unlock()
	return got
}

type amClient struct {
	t    *testing.T
	base string
}

func (c amClient) ready() {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+"/status", nil)
		if err != nil {
			c.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal(err)
		}
	}
}

func (c amClient) post(path string, v any) {
	c.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.base+path, strings.NewReader(string(b)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("%s: %s: %s", path, resp.Status, said)
	}
}

// TestTheTimesAreThoseOfAlertmanager plays one story to a real Alertmanager and
// to Belay. Each receiver is to hear the same, at the same time; only what has
// ended is told sooner here.
func TestTheTimesAreThoseOfAlertmanager(t *testing.T) {
	want, got := theirs(t), ours(t)
	const late = 900 * time.Millisecond // of a machine that does other things, too
	for _, name := range timedReceivers {
		if name == "resolved" || name == "root" {
			continue // sooner here; see below
		}
		w, g := want[name], got[name]
		if len(w) != len(g) {
			t.Errorf("%s: Alertmanager told %v, Belay %v", name, w, g)
			continue
		}
		for i := range w {
			if w[i].firing != g[i].firing || w[i].resolved != g[i].resolved || (w[i].at-g[i].at).Abs() > late {
				t.Errorf("%s: Alertmanager told %v, Belay %v", name, w, g)
				break
			}
		}
	}
	sooner := func(name string, ended time.Duration) {
		w, g := want[name], got[name]
		if len(w) != 2 || len(g) != 2 || w[1].resolved != "1" || g[1].resolved != "1" || w[1].firing != g[1].firing {
			t.Errorf("%s: Alertmanager told %v, Belay %v", name, w, g)
			return
		}
		if g[1].at != ended || w[1].at < g[1].at+time.Second {
			t.Errorf("%s: its end at %s was told by Belay after %s, by Alertmanager after %s", name, ended, g[1].at, w[1].at)
		}
	}
	sooner("resolved", 2*time.Second)
	sooner("root", 4500*time.Millisecond) // the source of the inhibition
	exact := map[string][]string{
		"wait":     {"1s firing [12] resolved []", "4s firing [123] resolved []"},
		"repeat":   {"1s firing [1] resolved []", "5s firing [1] resolved []", "9s firing [1] resolved []"},
		"apart":    {"1s firing [1] resolved []", "1.5s firing [2] resolved []"},
		"second":   {"2s firing [1] resolved []"},
		"target":   {"1.2s firing [2] resolved []", "5.2s firing [12] resolved []"},
		"silenced": {"5s firing [1] resolved []"},
	}
	for name, want := range exact {
		var told []string
		for _, h := range got[name] {
			told = append(told, h.String())
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// ops is a configuration with one receiver.
const ops = `
route: {receiver: ops, group_wait: 1s, group_interval: 1m, repeat_interval: 1h}
receivers: [{name: ops, webhook_configs: [{url: http://127.0.0.1:9/}]}]
`

func sent(n string, ends time.Time) alerting.Incoming {
	return alerting.Incoming{Labels: map[string]string{"alertname": "A", "n": n}, EndsAt: ends}
}

func TestARestartTellsNothingTwiceAndForgetsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newGroupStage(t, ops)
		stop := start(t, first.run)
		synctest.Wait()
		first.post(t, sent("1", time.Time{}), sent("2", time.Time{}))
		time.Sleep(2 * time.Second)
		stop()
		if diff := cmp.Diff([]string{"firing [12] resolved []"}, first.said()); diff != "" {
			t.Fatal(diff)
		}
		first.post(t, sent("1", time.Now())) // while nobody tells

		second := newGroupStage(t, ops, first.journal)
		stop = start(t, second.run)
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"firing [2] resolved [1]"}, second.said()); diff != "" {
			t.Errorf("the end in between: %s", diff)
		}
		stop()

		third := newGroupStage(t, ops, first.journal)
		stop = start(t, third.run)
		time.Sleep(30 * time.Second)
		third.post(t, sent("3", time.Time{}))
		time.Sleep(10 * time.Second)
		if got := third.said(); got != nil {
			t.Errorf("told again, or before group_interval was over: %q", got)
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"firing [23] resolved []"}, third.said()); diff != "" {
			t.Error(diff)
		}
		stop()
	})
}

func TestAnAlertThatIsNotSentAgainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGroupStage(t, ops)
		stop := start(t, s.run)
		s.post(t, sent("1", time.Time{}))
		time.Sleep(4 * time.Minute)
		s.post(t, sent("1", time.Time{}))
		time.Sleep(4 * time.Minute)
		if n := len(s.inbox.Active()); n != 1 {
			t.Errorf("%d alerts fire although it was sent again", n)
		}
		time.Sleep(90 * time.Second)
		if n := len(s.inbox.Active()); n != 0 {
			t.Errorf("%d alerts fire after resolve_timeout", n)
		}
		stop()
		if diff := cmp.Diff([]string{"firing [1] resolved []", "firing [] resolved [1]"}, s.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAReceiverThatFailedHearsThePresentStateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGroupStage(t, ops)
		broken := true
		s.fault = func(alerting.Message) error {
			if broken {
				return errors.New("down")
			}
			return nil
		}
		stop := start(t, s.run)
		s.post(t, sent("1", time.Time{}), sent("2", time.Time{}))
		time.Sleep(10 * time.Second)
		s.post(t, sent("1", time.Now()))
		time.Sleep(70 * time.Second)
		s.post(t, sent("3", time.Time{}))
		time.Sleep(70 * time.Second)
		s.mu.Lock()
		broken = false
		s.mu.Unlock()
		time.Sleep(40 * time.Second)
		stop()
		if diff := cmp.Diff([]string{"firing [23] resolved [1]"}, s.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatEndedBeforeAnybodyHeardOfItIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGroupStage(t, ops)
		s.fault = func(alerting.Message) error { return errors.New("down") }
		stop := start(t, s.run)
		s.post(t, sent("1", time.Time{}))
		time.Sleep(10 * time.Second)
		s.post(t, sent("1", time.Now()))
		time.Sleep(2 * time.Minute)
		s.mu.Lock()
		s.fault = nil
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		stop()
		if got := s.said(); got != nil {
			t.Errorf("%q", got)
		}
	})
}

func TestAlertsOfAServiceAreToldInItsIncidentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGroupStage(t, ops)
		stop := start(t, s.run)
		s.post(t, alerting.Incoming{Labels: map[string]string{"alertname": "A", "service": "checkout", "n": "1"}}, sent("2", time.Time{}))
		time.Sleep(2 * time.Minute)
		stop()
		if diff := cmp.Diff([]string{"firing [2] resolved []"}, s.said()); diff != "" {
			t.Error(diff)
		}
	})
}
