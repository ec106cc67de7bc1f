// Command conformance runs the conformance suite of rollback/rollbacktest on
// every platform that calls it, and prints platform × test. Its last line is
// "N passed, N failed, N skipped".
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/belaydev/belay/rollback/rollbacktest"
)

// event is one line of `go test -json`.
type event struct{ Action, Package, Test, Output string }

// A column is one platform, in one of the ways in which it was run.
type column struct {
	name    string
	results map[string]string // test → pass, fail, skip
	broken  bool              // the package failed
}

func main() {
	tests, err := discover("rollback")
	if err == nil {
		err = run(os.Stdout, tests)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// discover returns, for each package that runs the suite, the tests that do.
func discover(root string) (map[string][]string, error) {
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		call := bytes.Index(text, []byte("rollbacktest.RunConformance("))
		if call < 0 {
			return nil
		}
		if all := testFunc.FindAllSubmatch(text[:call], -1); len(all) > 0 {
			dir := "./" + filepath.Dir(path)
			found[dir] = append(found[dir], string(all[len(all)-1][1]))
		}
		return nil
	})
	return found, err
}

// run runs the packages one after the other, real platforms being what they
// are, and prints the table.
func run(out io.Writer, tests map[string][]string) error {
	var columns []*column
	var said []string
	passed, failed, skipped := 0, 0, 0
	for _, dir := range sorted(tests) {
		cols, why, err := runPackage(dir, tests[dir])
		if err != nil {
			return err
		}
		columns = append(columns, cols...)
		said = append(said, why...)
	}
	names := rollbacktest.Names()
	for i, c := range columns {
		fmt.Fprintf(out, "%c  %s\n", 'A'+i, c.name)
	}
	fmt.Fprintln(out)
	for _, name := range names {
		fmt.Fprintf(out, "%-68s", name)
		for _, c := range columns {
			result := c.results[name]
			if result == "" && c.broken {
				result = "fail" // the package ended before it came to this
			}
			switch result {
			case "pass":
				passed++
				fmt.Fprint(out, "  ok  ")
			case "fail":
				failed++
				fmt.Fprint(out, "  FAIL")
			default:
				skipped++
				fmt.Fprint(out, "  -   ")
			}
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%-68s", "")
	for i := range columns {
		fmt.Fprintf(out, "  %c   ", 'A'+i)
	}
	fmt.Fprintf(out, "\n\n- is left out: the platform has no such thing, or the test's harness cannot make it happen\n%s\n", strings.Join(said, ""))
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
	return nil
}

func runPackage(dir string, tests []string) (columns []*column, said []string, err error) {
	cmd := exec.CommandContext(context.Background(), "go", "test", "-count=1", "-timeout", "20m", "-json", "-run", "^("+strings.Join(tests, "|")+")$", dir)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	names := map[string]string{} // as in the name of a subtest → as in the suite
	for _, n := range rollbacktest.Names() {
		names[strings.ReplaceAll(n, " ", "_")] = n
	}
	byName := map[string]*column{}
	output := map[string]string{}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var ev event
		if json.Unmarshal(lines.Bytes(), &ev) != nil {
			continue
		}
		path := strings.Split(ev.Test, "/")
		last := path[len(path)-1]
		switch name, ok := names[last]; {
		case ev.Action == "output":
			output[ev.Test] += ev.Output
		case ok && slices.Contains([]string{"pass", "fail", "skip"}, ev.Action):
			col := platform(dir, path[1:len(path)-1])
			if byName[col] == nil {
				byName[col] = &column{name: col, results: map[string]string{}}
				columns = append(columns, byName[col])
			}
			byName[col].results[name] = ev.Action
			if ev.Action == "fail" {
				said = append(said, output[ev.Test])
			}
		case !ok && ev.Action == "skip" && len(path) <= 2: // a component is missing
			said = append(said, fmt.Sprintf("%s: %s", dir, output[ev.Test]))
		}
	}
	waitErr := cmd.Wait()
	if len(columns) == 0 {
		columns = append(columns, &column{name: platform(dir, nil) + " (did not run)"})
		if waitErr != nil {
			return nil, nil, fmt.Errorf("%s: %w: %s", dir, waitErr, output[""])
		}
	}
	for _, c := range columns {
		c.broken = waitErr != nil
	}
	slices.SortFunc(columns, func(a, b *column) int { return strings.Compare(a.name, b.name) })
	return columns, said, lines.Err()
}

// platform names what a package of the tests is about.
func platform(dir string, variant []string) string {
	name := strings.Split(strings.TrimPrefix(dir, "./rollback/"), "/")[0]
	if name == "rollbacktest" {
		name = "fake"
	}
	for _, v := range variant {
		name += ", " + strings.ReplaceAll(v, "_", " ")
	}
	return name
}

func sorted(m map[string][]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
