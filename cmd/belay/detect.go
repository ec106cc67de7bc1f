package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/rules/anomaly"
)

// maxDetectLine is how long a line of the input may be. A line with a timestamp and a value needs fifty bytes.
const maxDetectLine = 4096

// detectCommand tries a detector on a series: samples in, one judgement a line out.
func detectCommand(env *environment) *cobra.Command {
	var c anomaly.Config
	var direction, sensitivity, file, alert string
	cmd := &cobra.Command{
		Use:   "detect < series.csv",
		Short: "Try an anomaly detector on a series",
		Long: `Reads lines "timestamp,value" and writes what the detector of an anomaly rule
says to each of them, a JSON object a line, as soon as it has read the line:

  t         the sample's time
  v         its value; null if it is missing
  expected  where the series' own history puts it, and
  lower     the band beyond which it is strange
  upper
  score     how strange it is
  firing    whether the rule fires, and
  since     since when
  repeat    whether this alert repeats one of the last hours
  arm       what made it speak: level, sustained or volatility
  why       the judgement in words

A timestamp is in Unix seconds, RFC 3339, or YYYY-MM-DD HH:MM:SS in UTC; a
line that is not later than those before it counts as missing, and so does a
value that is empty or NaN. A header and further columns are skipped.`,
		Example: "  belay detect < series.csv\n  belay detect --budget 0.5 --direction up < latency.csv | jq -c 'select(.firing)'",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c.Direction, c.Sensitivity = anomaly.Direction(direction), anomaly.Sensitivity(sensitivity)
			if file != "" || alert != "" {
				own, err := ruleConfig(file, alert)
				if err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				c = own
			}
			d, err := anomaly.New(c)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if err := detect(env.stdin, env.stdout, d); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&c.Budget, "budget", 0, "false alarms a day that are acceptable (default: that of --sensitivity)")
	flags.StringVar(&sensitivity, "sensitivity", "medium", "a budget with a name: low (0.01), medium (0.05) or high (0.3)")
	flags.StringVar(&direction, "direction", "both", "the side that is a problem: both, up or down")
	flags.DurationVar(&c.Season, "season", 0, "how often the series repeats itself (default 24h; -1s: it does not)")
	flags.IntVar(&c.MinSamples, "min-samples", 0, "samples before anything is judged (default 10)")
	flags.StringVar(&file, "rules", "", "judge as a rule of this rule `file` does; with --alert")
	flags.StringVar(&alert, "alert", "", "the `name` of that rule")
	cmd.MarkFlagsRequiredTogether("rules", "alert")
	for _, own := range []string{"budget", "sensitivity", "direction", "season", "min-samples"} {
		cmd.MarkFlagsMutuallyExclusive("rules", own)
	}
	return cmd
}

// ruleConfig is what an anomaly rule of a file says of its detectors.
func ruleConfig(file, alert string) (anomaly.Config, error) {
	set, problems := rules.Load([]string{file})
	if len(problems) > 0 {
		return anomaly.Config{}, problems
	}
	var known []string
	for _, g := range set.Groups {
		for _, r := range g.Rules {
			if r.Anomaly == nil {
				continue
			}
			if r.Name == alert {
				return *r.Anomaly, nil
			}
			known = append(known, r.Name)
		}
	}
	if len(known) == 0 {
		return anomaly.Config{}, fmt.Errorf("%s has no anomaly rule", file)
	}
	return anomaly.Config{}, fmt.Errorf("%s has no anomaly rule %q; it has: %s", file, alert, strings.Join(known, ", "))
}

// A judgedLine is one line of the output.
type judgedLine struct {
	T        json.RawMessage `json:"t"`
	V        *float64        `json:"v"`
	Expected *float64        `json:"expected"`
	Lower    *float64        `json:"lower"`
	Upper    *float64        `json:"upper"`
	Score    float64         `json:"score"`
	Firing   bool            `json:"firing"`
	Since    *float64        `json:"since"`
	Repeat   bool            `json:"repeat"`
	Arm      string          `json:"arm"`
	Why      string          `json:"why"`
}

// detect judges each sample of in, and writes each judgement before it reads on.
func detect(in io.Reader, out io.Writer, d *anomaly.Detector) error {
	lines := bufio.NewReaderSize(in, maxDetectLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		last := errors.Is(err, io.EOF)
		if errors.Is(err, bufio.ErrBufferFull) {
			err = fmt.Errorf("longer than %d bytes", maxDetectLine)
		}
		if err == nil || last {
			err = detectLine(strings.TrimSpace(string(line)), n == 1, out, d)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if last {
			return nil
		}
	}
}

func detectLine(text string, first bool, out io.Writer, d *anomaly.Detector) error {
	if text = strings.TrimPrefix(text, "\ufeff"); text == "" || first && !startsWithDigit(text) { // empty, or the header
		return nil
	}
	at, v, err := parseSample(text)
	if err != nil {
		return err
	}
	line, err := json.Marshal(judged(at, d.Observe(at, v)))
	if err != nil {
		return err
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

func startsWithDigit(text string) bool {
	text = strings.TrimLeft(text, `"-+ `)
	return text != "" && text[0] >= '0' && text[0] <= '9'
}

func judged(at time.Time, j anomaly.Judgement) judgedLine {
	line := judgedLine{
		T: unixSeconds(at), V: finite(j.Value), Expected: finite(j.Expected), Lower: finite(j.Lower), Upper: finite(j.Upper),
		Score: j.Score, Firing: j.Firing, Repeat: j.Repeat, Arm: j.Arm.String(), Why: j.Why(),
	}
	if j.Firing {
		line.Since = finite(float64(j.Since.UnixMicro()) / 1e6)
	}
	return line
}

// finite is a number that JSON can hold, or null.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// unixSeconds prints a time without the exponent that a large float gets.
func unixSeconds(at time.Time) json.RawMessage {
	return json.RawMessage(strconv.FormatFloat(float64(at.UnixMicro())/1e6, 'f', -1, 64))
}

// parseSample reads one line of the input.
func parseSample(text string) (time.Time, float64, error) {
	first, rest, ok := strings.Cut(text, ",")
	if !ok {
		return time.Time{}, 0, errors.New("no comma; each line is timestamp,value")
	}
	at, err := parseMoment(unquote(first))
	if err != nil {
		return time.Time{}, 0, err
	}
	value, _, _ := strings.Cut(rest, ",")
	v, err := parseNumber(unquote(value))
	return at, v, err
}

func unquote(text string) string { return strings.Trim(strings.TrimSpace(text), `"`) }

func parseNumber(text string) (float64, error) {
	if text == "" {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && math.IsInf(v, 0):
		return math.NaN(), nil // no measurement; to the detector it is missing
	case err != nil:
		return 0, fmt.Errorf("value %.40q is no number", text)
	}
	return v, nil
}

// parseMoment reads Unix seconds or one of the forms of a date, between the years 1825 and 2114.
func parseMoment(text string) (time.Time, error) {
	var at time.Time
	var err error
	if sec, bad := strconv.ParseFloat(text, 64); bad == nil {
		if !(math.Abs(sec) < 4.6e9) {
			return at, fmt.Errorf("timestamp %.40q: not in Unix seconds", text)
		}
		return time.UnixMicro(int64(math.Round(sec * 1e6))).UTC(), nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateTime, "2006-01-02T15:04:05"} {
		if at, err = time.Parse(form, text); err == nil {
			if at.Year() < 1825 || at.Year() > 2114 {
				return at, fmt.Errorf("timestamp %.40q: from the year 1825 to 2114", text)
			}
			return at.UTC(), nil
		}
	}
	return at, fmt.Errorf("timestamp %.40q: Unix seconds, RFC 3339, or YYYY-MM-DD HH:MM:SS", text)
}
