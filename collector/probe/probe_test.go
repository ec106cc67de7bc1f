package probe_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/strict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// load reads the text of a configuration.
func load(t *testing.T, text string) ([]probe.Probe, strict.Problems) {
	t.Helper()
	doc, problems := strict.Parse("belay.yml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return probe.Load(doc, 0)
}

// A store is a database that tells of its commits.
type store struct {
	*tsdb.DB
	commits chan struct{}
}

func (s *store) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return told{s.DB.AppenderV2(ctx), s.commits}
}

type told struct {
	storage.AppenderV2
	commits chan struct{}
}

func (a told) Commit() error {
	err := a.AppenderV2.Commit()
	select {
	case a.commits <- struct{}{}:
	default:
	}
	return err
}

// last returns the newest value of each series of a name, by its labels.
func (s *store) last(t *testing.T, name string) map[string]float64 {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	out := map[string]float64{}
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			_, out[set.At().Labels().String()] = it.At()
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

func (s *store) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-s.commits:
		case <-deadline:
			t.Fatalf("waited in vain until %s; have %v", what, s.last(t, "probe_success"))
		}
	}
}

func run(t *testing.T, text string) (*store, *probe.Prober) {
	t.Helper()
	probes, problems := load(t, text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &store{db, make(chan struct{}, 1)}
	p, err := probe.New(probes, probe.Options{Appendable: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, p
}

// listen returns a listener and its address.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().String()
}

func answerTCP(t *testing.T) string {
	l, address := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, "220 ready")
			_ = c.Close()
		}
	}()
	return address
}

func answerDNS(t *testing.T) string {
	packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Name != "shop.example.org." {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return packets.LocalAddr().String()
}

func answerGRPC(t *testing.T) string {
	l, address := listen(t)
	server, h := grpc.NewServer(), health.NewServer()
	h.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, h)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return address
}

func TestEachKindTellsWellFromUnwell(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusGone)
		}
		_, _ = fmt.Fprint(w, "all is well")
	}))
	t.Cleanup(page.Close)
	closed, nobody := listen(t)
	_ = closed.Close()
	tcp, name, rpc := answerTCP(t), answerDNS(t), answerGRPC(t)
	want := map[string]float64{}
	var text strings.Builder
	text.WriteString("probes:\n")
	for i, tc := range []struct {
		kind string
		ok   float64
	}{
		{fmt.Sprintf("http: {url: %q}", page.URL), 1},
		{fmt.Sprintf("http: {url: %q}", page.URL+"/gone"), 0},
		{fmt.Sprintf("http: {url: %q, expect_status: 410}", page.URL+"/gone"), 1},
		{fmt.Sprintf("http: {url: %q, expect_status: [200, 204], expect_body: wel+}", page.URL), 1},
		{fmt.Sprintf("http: {url: %q, expect_body: ill}", page.URL), 0},
		{fmt.Sprintf("tcp: {address: %q}", tcp), 1},
		{fmt.Sprintf("tcp: {address: %q, expect: ^220}", tcp), 1},
		{fmt.Sprintf("tcp: {address: %q, expect: ^500}", tcp), 0},
		{fmt.Sprintf("tcp: {address: %q}", nobody), 0},
		{fmt.Sprintf("dns: {server: %q, query_name: shop.example.org}", name), 1},
		{fmt.Sprintf("dns: {server: %q, query_name: nothing.example.org}", name), 0},
		{fmt.Sprintf("grpc: {address: %q, service: shop}", rpc), 1},
		{fmt.Sprintf("grpc: {address: %q, service: cart}", rpc), 0},
	} {
		fmt.Fprintf(&text, "  - {name: p%d, service: checkout, interval: 1s, %s}\n", i, tc.kind)
		want[fmt.Sprint("p", i)] = tc.ok
	}
	s, _ := run(t, text.String())
	s.until(t, "each was tried", func() bool { return len(s.last(t, "probe_success")) == len(want) })
	got := map[string]float64{}
	for series, v := range s.last(t, "probe_success") {
		if !strings.Contains(series, `job="probe"`) || !strings.Contains(series, `service="checkout"`) || !strings.Contains(series, `instance="`) {
			t.Errorf("labels: %s", series)
		}
		_, name, _ := strings.Cut(series, `name="p`)
		number, _, _ := strings.Cut(name, `"`)
		got["p"+number] = v
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(s.last(t, "probe_duration_seconds")); n != len(want) {
		t.Errorf("%d durations", n)
	}
	if len(s.last(t, "probe_http_status_code")) != 5 {
		t.Error("the prober's own metrics are missing")
	}
}

func TestAPingOfThisHost(t *testing.T) {
	s, _ := run(t, "probes: [{name: self, interval: 1s, icmp: {host: 127.0.0.1}}]")
	s.until(t, "it was tried", func() bool { return len(s.last(t, "probe_success")) == 1 })
	for _, v := range s.last(t, "probe_success") {
		if v != 1 {
			t.Skip("this host may not ping itself: icmp needs CAP_NET_RAW or a ping group")
		}
	}
}

func TestASlowPageFailsInItsTimeout(t *testing.T) {
	release := make(chan struct{})
	page := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(page.Close)
	t.Cleanup(func() { close(release) })
	s, _ := run(t, fmt.Sprintf("probes: [{name: slow, interval: 1s, timeout: 100ms, http: {url: %q}}]", page.URL))
	s.until(t, "it failed", func() bool {
		for _, v := range s.last(t, "probe_success") {
			return v == 0
		}
		return false
	})
}

func TestAReloadEndsTheSeriesOfProbesThatLeave(t *testing.T) {
	var asked atomic.Int64
	page := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(page.Close)
	one := fmt.Sprintf("{name: a, interval: 100ms, http: {url: %q}}", page.URL)
	s, p := run(t, "probes: ["+one+"]")
	s.until(t, "it runs", func() bool { return len(s.last(t, "probe_success")) == 1 })
	probes, _ := load(t, fmt.Sprintf("probes: [{name: b, interval: 100ms, http: {url: %q}}]", page.URL))
	if err := p.Reload(probes); err != nil {
		t.Fatal(err)
	}
	s.until(t, "a ended and b runs", func() bool {
		ended, runs := false, false
		for series, v := range s.last(t, "probe_success") {
			ended = ended || strings.Contains(series, `name="a"`) && value.IsStaleNaN(v)
			runs = runs || strings.Contains(series, `name="b"`) && v == 1
		}
		return ended && runs
	})
	broken, _ := load(t, fmt.Sprintf("probes: [{name: c, http: {url: %q, tls_config: {ca_file: /nowhere.pem}}}]", page.URL))
	if err := p.Reload(broken); err == nil || !strings.Contains(err.Error(), "probe c: ") {
		t.Errorf("a probe that cannot be: %v", err)
	}
}

func TestBadProbesSayWhereWhatAndWhatIsAllowed(t *testing.T) {
	for text, want := range map[string]string{
		"probes:\n- http: {url: \"http://a\"}\n":                                     "belay.yml:2: a probe without a name; allowed: name: what it is called in metrics",
		"probes:\n- name: a\n":                                                       "belay.yml:2: a probe of 0 kinds; allowed: exactly one of http, tcp, dns, grpc, icmp",
		"probes:\n- {name: a, icmp: {host: b}, tcp: {address: \"b:1\"}}\n":           "belay.yml:2: a probe of 2 kinds; allowed: exactly one of http, tcp, dns, grpc, icmp",
		"probes:\n- {name: a, icmp: {host: b}}\n- {name: a, icmp: {host: b}}\n":      "belay.yml:3: name: \"a\" is taken by the probe in line 2; allowed: a name that no other probe has",
		"probes:\n- {name: a, http: {url: a}}\n":                                     "belay.yml:2: url: \"a\" is not the address of a page; allowed: a URL such as https://shop.example.org/healthz",
		"probes:\n- {name: a, tcp: {address: a}}\n":                                  "belay.yml:2: address: \"a\" is not an address; allowed: host:port",
		"probes:\n- {name: a, icmp: {host: b}, interval: 1s, timeout: 2s}\n":         "belay.yml:2: timeout: 2s is longer than the interval, 1s; allowed: at most 1s",
		"probes:\n- {name: a, dns: {server: b, query_name: c, query_type: X}}\n":     "belay.yml:2: query_type: unknown value \"X\"; allowed: A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT and the other types of DNS",
		"probes:\n- {name: a, http: {url: \"http://a\", expect_status: 42}}\n":       "belay.yml:2: expect_status: 42 is no status of HTTP; allowed: 100 to 599",
		"probes:\n- {name: a, http: {url: \"http://a\", expect_body: \"(\"}}\n":      "belay.yml:2: expect_body: error parsing regexp: missing closing ): `(`; allowed: a regular expression (RE2)",
		"probes:\n- {name: a, icmp: {host: b}, intervall: 1s}\n":                     "unknown key \"intervall\"",
		"probes:\n- {name: a, http: {url: \"http://a\", expect_stats: 200}}\n":       "\"expect_stats\"",
		"probes:\n- {name: a, interval: 10us, icmp: {host: b}}\n":                    "belay.yml:2: ",
		"probes:\n- {name: a, http: {url: \"http://a\", expect_status: [teapot]}}\n": "belay.yml:2: ",
		"probes:\n- {name: a, interval: 1ms, timeout: 1ms, icmp: {host: b}}\n":       "belay.yml:2: interval: 1ms is too short; allowed: 100ms or more, such as 5s",
	} {
		if _, problems := load(t, text); !strings.Contains(problems.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, problems, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("probes:\n- {name: a, http: {url: \"http://a\", expect_status: [200], tls_config: {ca: x}}, interval: 5s}\n")
	f.Add("probes: [{name: a, dns: {server: b, query_name: c}}, {name: b, tcp: {address: \"c:1\", expect: \"(\"}}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc, problems := strict.Parse("f.yml", []byte(text))
		if len(problems) > 0 {
			return
		}
		probes, problems := probe.Load(doc, 0)
		if len(problems) > 0 {
			return
		}
		for _, p := range probes {
			if p.Name == "" || p.Interval <= 0 || p.Timeout <= 0 || p.Timeout > p.Interval {
				t.Errorf("an impossible probe passed: %+v", p)
			}
		}
	})
}
