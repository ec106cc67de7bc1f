package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// screen is how wide text output may be.
const screen = 80

// A group is a command that only holds others. Its subcommands share the flag
// for the form of their output.
type group struct {
	*cobra.Command
	env    *environment
	format string
}

func newGroup(env *environment, name, short string) *group {
	g := &group{env: env, Command: &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}}
	g.formatFlag()
	return g
}

func (g *group) formatFlag() {
	g.PersistentFlags().StringVarP(&g.format, "output", "o", "text", "form of the output: text or json")
}

// checkFormat reports whether the output is to be JSON.
func (g *group) wantsJSON() (bool, error) {
	switch g.format {
	case "json":
		return true, nil
	case "text":
		return false, nil
	}
	return false, usage("output is %q; allowed: text, json", g.format)
}

// add makes a subcommand whose run gets a client, and prints either the answer
// as it came or the text that run returns.
func (g *group) add(use, short, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client, args []string) (raw []byte, text string, err error)) *cobra.Command {
	sub := &cobra.Command{Use: use, Short: short, Example: example, Args: args}
	sub.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := g.wantsJSON()
		if err != nil {
			return err
		}
		c, err := newClient(g.env)
		if err != nil {
			return err
		}
		raw, text, err := run(cmd, c, args)
		switch {
		case asJSON && len(raw) > 0:
			_, _ = g.env.stdout.Write(raw)
		case text != "":
			_, _ = io.WriteString(g.env.stdout, text)
		}
		return err
	}
	g.AddCommand(sub)
	return sub
}

// serviceFlag lets a service be named by --service as well as by the first
// argument. It returns what takes the service from the arguments and leaves the
// rest.
func serviceFlag(cmd *cobra.Command) func(args []string) (service string, rest []string, err error) {
	service := cmd.Flags().String("service", "", "the service, instead of SERVICE: environment/name, or a name of production")
	most := strings.Count(cmd.Use, " ") // SERVICE and what may follow it
	cmd.Args = cobra.MaximumNArgs(most)
	return func(args []string) (string, []string, error) {
		switch {
		case *service == "" && len(args) == 0:
			return "", nil, usage("name the service: `%s SERVICE`, or --service SERVICE", cmd.CommandPath())
		case *service == "":
			return args[0], args[1:], nil
		case len(args) >= most:
			return "", nil, usage("name the service once: as %q or as --service %q", args[0], *service)
		}
		return *service, args, nil
	}
}

// actorOf is the name under which a person acts when none is given.
func actorOf(env *environment, given string) string {
	for _, name := range []string{given, env.getenv("USER"), env.getenv("LOGNAME")} {
		if name != "" {
			return name
		}
	}
	return "unknown"
}

// plain makes text from elsewhere safe for a terminal: one line, no control
// characters, so that nothing can move the cursor or forge a line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
}

// clip shortens text to a number of characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:max(0, n-1)]) + "…"
	}
	return s
}

// A table is a list with aligned columns that fits the screen. The first
// column is never shortened, since it is what other commands take; the last
// gets what is left.
type table struct{ rows [][]string }

func newTable(header ...string) *table { return &table{[][]string{header}} }

func (t *table) add(cells ...string) {
	for i := range cells {
		if cells[i] = plain(cells[i]); cells[i] == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// Widest that a column between the first and the last becomes, and narrowest
// that the last does.
const (
	middleWidth = 26
	lastWidth   = 8
)

// String returns the table, or a word of comfort when it has no rows.
func (t *table) String() string {
	if len(t.rows) == 1 {
		return "none\n"
	}
	widths := t.widths()
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			cell = clip(cell, widths[i])
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

func (t *table) widths() []int {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	last, left := len(widths)-1, screen
	for i := range last {
		if i > 0 {
			widths[i] = min(widths[i], middleWidth)
		}
		left -= widths[i] + 2
	}
	for i := 1; i < last && left < lastWidth; i++ { // a long first column takes from its neighbours
		give := min(lastWidth-left, max(0, widths[i]-6))
		widths[i], left = widths[i]-give, left+give
	}
	widths[last] = max(1, min(widths[last], left))
	return widths
}

// wrap breaks text into lines that fit beside an indent.
func wrap(text string, indent int) string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Fields(plain(text)) {
		n := utf8.RuneCountInString(word)
		if length > 0 && indent+length+1+n > screen {
			lines, line, length = append(lines, line), "", 0
		}
		if length > 0 {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	return strings.Join(append(lines, line), "\n"+strings.Repeat(" ", indent))
}

// fact writes one line of what is known of a thing.
func fact(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%-13s %s\n", name, wrap(value, 14))
	}
}

// moment writes a time for people; no time is "-".
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ago writes how long ago something was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(0, d).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// count says how many there are of a thing whose plural ends in s.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
