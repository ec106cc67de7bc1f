package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay/rules/anomaly"
)

// detectOn runs the command on an input.
func detectOn(t *testing.T, input string, args ...string) (code int, lines []judgedLine, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	env := &environment{stdin: strings.NewReader(input), stdout: &out, stderr: &bad, getenv: func(string) string { return "" }}
	code = run(t.Context(), append([]string{"detect"}, args...), env)
	for line := range strings.Lines(out.String()) {
		var j judgedLine
		if err := json.Unmarshal([]byte(line), &j); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, j)
	}
	return code, lines, bad.String()
}

func TestDetectReadsEveryFormOfTime(t *testing.T) {
	for _, first := range []string{"1772323200", "1772323200.0", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00+02:00", "2026-03-01 00:00:00", `"2026-03-01T00:00:00Z"`} {
		code, lines, stderr := detectOn(t, "timestamp,value,label\n"+first+",3.5,0\n\n")
		if code != 0 || len(lines) != 1 || string(lines[0].T) != "1772323200" || lines[0].V == nil || *lines[0].V != 3.5 {
			t.Errorf("%s: exit code %d, %+v, %s", first, code, lines, stderr)
		}
	}
}

func TestDetectSaysWhichSampleIsStrangeAndWhy(t *testing.T) {
	var in strings.Builder
	for i := range 600 {
		v := fmt.Sprint(100 + i%7)
		switch i {
		case 500:
			v = "900"
		case 300:
			v = ""
		case 301:
			v = "NaN"
		}
		fmt.Fprintf(&in, "%d,%s\n", 1772323200+60*i, v)
	}
	code, lines, _ := detectOn(t, in.String())
	if code != 0 || len(lines) != 600 {
		t.Fatalf("exit code %d, %d lines", code, len(lines))
	}
	for i, j := range lines[:500] {
		if j.Firing {
			t.Fatalf("line %d fires: %+v", i+1, j)
		}
	}
	if j := lines[300]; j.V != nil || j.Expected != nil || j.Why != "no sample" {
		t.Errorf("the missing sample: %+v", j)
	}
	j := lines[500]
	if !j.Firing || j.Since == nil || *j.Since != 1772323200+60*500 || j.Arm != "level" || !strings.Contains(j.Why, "above the expected 10") {
		t.Errorf("the strange sample: %+v", j)
	}
}

func TestDetectAnswersEachLineBeforeTheNextOneComes(t *testing.T) {
	input, feed := io.Pipe()
	answers, output := io.Pipe()
	d, err := anomaly.New(anomaly.Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- detect(input, output, d)
		_ = output.Close()
	}()
	read := bufio.NewScanner(answers)
	for i := range 5 {
		if _, err := fmt.Fprintf(feed, "%d,1\n", 60*i); err != nil {
			t.Fatal(err)
		}
		if !read.Scan() || !strings.HasPrefix(read.Text(), fmt.Sprintf(`{"t":%d,"v":1,`, 60*i)) {
			t.Fatalf("answer %d: %q", i, read.Text())
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDetectRefusesWithTheLineAndExitCode3(t *testing.T) {
	for name, c := range map[string]struct {
		input, says string
		args        []string
	}{
		"no comma":       {"1,2\nhello\n", "line 2: no comma", nil},
		"no number":      {"1,2\n2,two\n", `line 2: value "two" is no number`, nil},
		"no time":        {"1,2\nyesterday,2\n", "line 2: timestamp", nil},
		"milliseconds":   {"1772323200000,2\n", "line 1: timestamp", nil},
		"endless line":   {"1," + strings.Repeat("2", 1<<16), "line 1: longer than 4096 bytes", nil},
		"budget":         {"", "budget -1", []string{"--budget", "-1"}},
		"direction":      {"", "one of both, up, down", []string{"--direction", "left"}},
		"an argument":    {"", "unknown command", []string{"series.csv"}},
		"an option":      {"", "unknown flag", []string{"--nonsense"}},
		"a wrong season": {"", "season", []string{"--season", "1s"}},
	} {
		code, _, stderr := detectOn(t, c.input, c.args...)
		if code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", name, code, stderr, exitUsage, c.says)
		}
	}
}

func TestDetectTakesAnOlderLineAsMissing(t *testing.T) {
	code, lines, _ := detectOn(t, "100,1\n100,2\n40,3\n160,4\n")
	if code != 0 || len(lines) != 4 || lines[1].V != nil || lines[2].V != nil || lines[3].V == nil {
		t.Errorf("exit code %d, %+v", code, lines)
	}
}

func FuzzParseSample(f *testing.F) {
	for _, s := range []string{"1,2", "2026-03-01 00:00:00,NaN", `"x","y"`, "1e300,1e999", ",", "9999-12-31T23:59:59Z,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, v, err := parseSample(text)
		if err != nil {
			return
		}
		if at.Before(time.Unix(0, math.MinInt64)) || at.After(time.Unix(0, math.MaxInt64)) || math.IsInf(v, 0) {
			t.Errorf("%q is %s, %g", text, at, v)
		}
	})
}

func TestDetectJudgesAsARuleOfAFileDoes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yml")
	text := "groups:\n  - name: g\n    rules:\n      - alert: Up\n        anomaly: {expr: x, direction: down, budget: 0.5, season: none, min_samples: 20}\n      - alert: Plain\n        expr: x > 1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ruleConfig(file, "Up")
	if want := (anomaly.Config{Direction: anomaly.Down, Budget: 0.5, Season: -1, MinSamples: 20}); err != nil || c != want {
		t.Errorf("got %+v, %v, want %+v", c, err, want)
	}
	if _, err := ruleConfig(file, "Plain"); err == nil || !strings.Contains(err.Error(), `no anomaly rule "Plain"; it has: Up`) {
		t.Errorf("of a threshold: %v", err)
	}
}
