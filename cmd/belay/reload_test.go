package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay/pipeline"
)

func TestAHangupReloadsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const rules = "groups: [{name: g, rules: [{alert: NAME, expr: up == 0}]}]"
	put("rules.yml", strings.Replace(rules, "NAME", "First", 1))
	cfg, err := pipeline.Load(put("belay.yml", "rule_files: [rules.yml]\nmetrics: {path: metrics}\njournal: {path: belay.db}\nweb: {listen: '127.0.0.1:0'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.New(cfg, pipeline.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	defer reloadOnHangup(ctx, p)()
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	shows := func(path, text string) bool {
		address := p.Addr()
		if address == nil {
			return false
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address.String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return err == nil && res.StatusCode == http.StatusOK && strings.Contains(string(body), text)
	}
	until := func(path, text string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !shows(path, text); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never shows %s", path, text)
			}
		}
	}
	hangup := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	until("/-/ready", "")
	until("/api/v1/rules", `"First"`)

	put("rules.yml", "groups: [")
	hangup()
	until("/metrics", "belay_config_last_reload_successful 0")
	until("/api/v1/rules", `"First"`)

	put("rules.yml", strings.Replace(rules, "NAME", "Second", 1))
	hangup()
	until("/api/v1/rules", `"Second"`)
	until("/metrics", "belay_config_last_reload_successful 1")
	if shows("/api/v1/rules", `"First"`) {
		t.Error("what is gone from the file is still judged")
	}
}
