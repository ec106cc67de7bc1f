package acceptance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay/pipeline"
)

// A running is a whole Belay in this process.
type running struct {
	url, dir  string
	tokenFile string // of the admin token
}

// start runs a Belay with a configuration until the test ends. The sections
// that say where things lie are added; rules is the text of its rule file.
func start(t *testing.T, config, rules string) running {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	put(t, dir, "rules.yml", rules)
	file := put(t, dir, "belay.yml", config+"\nrule_files: [rules.yml]\njournal: {path: belay.db}\nweb: {listen: \""+address+"\"}\n")
	cfg, err := pipeline.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.DiscardHandler
	if testing.Verbose() {
		log = slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	}
	p, err := pipeline.New(cfg, pipeline.Options{Logger: slog.New(log), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r := running{url: "http://" + address, dir: dir, tokenFile: filepath.Join(dir, "belay.token")}
	eventually(t, "Belay is ready", func() string {
		if code, body, err := ask(t, r.url+"/-/ready", nil); err != nil || code != http.StatusOK {
			return fmt.Sprint(code, " ", string(body), err)
		}
		return ""
	})
	return r
}

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// eventually waits until what is wrong is nothing.
func eventually(t *testing.T, what string, wrong func() string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = wrong(); last == "" {
			return
		}
	}
	t.Errorf("%s: %s", what, last)
}

func ask(t *testing.T, address string, form url.Values) (code int, body []byte, err error) {
	t.Helper()
	method, in := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		method, in = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, in)
	if err != nil {
		return 0, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// awaitResult waits until a query on a server has that result: series with
// their value, sorted.
func awaitResult(t *testing.T, server, query string, want ...string) {
	t.Helper()
	eventually(t, query+" on "+server, func() string {
		_, body, err := ask(t, server+"/api/v1/query", url.Values{"query": {query}})
		if err != nil {
			return err.Error()
		}
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  []any
				}
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Sprintf("%v in %s", err, body)
		}
		var got []string
		for _, r := range answer.Data.Result {
			name, err := json.Marshal(r.Metric)
			if err != nil {
				return err.Error()
			}
			got = append(got, fmt.Sprint(string(name), " ", r.Value[1]))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
}

// answering serves a metric to be scraped and returns its address.
func answering(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE answer gauge\n# HELP answer What it is.\nanswer 42\n")
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
