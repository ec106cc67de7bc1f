// Command testcount reads the output of `go test -json`, shows what failed, and
// ends with the counts. With BELAY_TEST_REQUIRE=all a skipped test is a failure.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type counter struct {
	out                     io.Writer
	passed, failed, skipped int
	broken                  int // packages that failed outside any test
	output                  map[string][]string
	failedIn                map[string]bool
}

func main() {
	c := &counter{out: os.Stdout, output: map[string][]string{}, failedIn: map[string]bool{}}
	c.read(os.Stdin)
	os.Exit(c.finish(os.Getenv("BELAY_TEST_REQUIRE") == "all"))
}

func (c *counter) read(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var ev event
		if json.Unmarshal(lines.Bytes(), &ev) != nil {
			fmt.Fprintln(c.out, lines.Text()) // a build that failed prints plain text
			continue
		}
		c.count(ev)
	}
}

func (c *counter) count(ev event) {
	key := ev.Package + " " + ev.Test
	switch ev.Action {
	case "output":
		c.output[key] = append(c.output[key], ev.Output)
	case "build-output":
		fmt.Fprint(c.out, ev.Output)
	case "build-fail":
		c.broken++
	case "pass":
		if ev.Test != "" {
			c.passed++
		} else {
			fmt.Fprintf(c.out, "ok    %-50s %s\n", ev.Package, time.Duration(ev.Elapsed*float64(time.Second)).Round(10*time.Millisecond))
		}
		delete(c.output, key)
	case "skip":
		if ev.Test != "" {
			c.skipped++
			fmt.Fprintf(c.out, "skip  %s: %s\n", key, reason(c.output[key]))
		}
		delete(c.output, key)
	case "fail":
		c.fail(ev, key)
	}
}

func (c *counter) fail(ev event, key string) {
	if ev.Test != "" {
		c.failed++
		c.failedIn[ev.Package] = true
	} else if !c.failedIn[ev.Package] {
		c.broken++
	}
	fmt.Fprintf(c.out, "FAIL  %s\n%s", key, strings.Join(c.output[key], ""))
	delete(c.output, key)
}

// reason is the last thing that a skipped test said.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		if s := strings.TrimSpace(output[i]); s != "" && !strings.HasPrefix(s, "---") && !strings.HasPrefix(s, "===") {
			return s
		}
	}
	return "no reason given"
}

func (c *counter) finish(require bool) int {
	fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", c.passed, c.failed+c.broken, c.skipped)
	if c.failed+c.broken > 0 || c.passed == 0 || require && c.skipped > 0 {
		return 1
	}
	return 0
}
