package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// series is one labelled series. A missing value is NaN.
type series struct {
	name   string
	t      []time.Time
	v      []float64
	harmed bool   // of a change: whether it did harm
	events []span // labelled events, as ranges of indexes, both ends included
}

type span struct{ from, to int }

// interval is the usual distance between two samples.
func (s series) interval() time.Duration {
	if len(s.t) < 2 {
		return time.Minute
	}
	d := make([]time.Duration, 0, len(s.t)-1)
	for i := 1; i < len(s.t); i++ {
		d = append(d, s.t[i].Sub(s.t[i-1]))
	}
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return max(d[len(d)/2], time.Second)
}

// loadLabelled reads every file below dir with the columns time, value and label, gzipped or plain.
func loadLabelled(dir string) ([]series, error) {
	var out []series
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".csv") {
			return err
		}
		rows, err := readCSV(path)
		if err != nil {
			return err
		}
		s, err := fromRows(rows)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		s.name, _ = filepath.Rel(dir, path)
		out = append(out, s)
		return nil
	})
	return out, err
}

func readCSV(path string) (rows [][]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		in = z
	}
	rows, err = csv.NewReader(in).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) > 0 {
		rows = rows[1:] // the header
	}
	return rows, nil
}

func fromRows(rows [][]string) (series, error) {
	var s series
	open := -1
	for i, r := range rows {
		at, err := parseTime(r[0])
		if err != nil {
			return s, err
		}
		s.t = append(s.t, at)
		s.v = append(s.v, parseValue(r[1]))
		bad := len(r) > 2 && parseValue(r[2]) > 0
		if bad && open < 0 {
			open = i
		}
		if !bad && open >= 0 {
			s.events = append(s.events, span{open, i - 1})
			open = -1
		}
	}
	if open >= 0 {
		s.events = append(s.events, span{open, len(rows) - 1})
	}
	return s, nil
}

func parseValue(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) {
		return math.NaN()
	}
	return v
}

func parseTime(text string) (time.Time, error) {
	if unix, err := strconv.ParseFloat(text, 64); err == nil {
		return time.UnixMicro(int64(math.Round(unix * 1e6))).UTC(), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04:05.000000"} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", text)
}

// loadNAB reads the benchmark's files and its label windows, which become the events.
func loadNAB(dir string) ([]series, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "labels", "combined_windows.json"))
	if err != nil {
		return nil, err
	}
	var windows map[string][][2]string
	if err := json.Unmarshal(raw, &windows); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(windows))
	for name := range windows {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []series
	for _, name := range names {
		rows, err := readCSV(filepath.Join(dir, "data", filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		s, err := fromRows(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.name = name
		for _, w := range windows[name] {
			from, err1 := parseTime(w[0])
			to, err2 := parseTime(w[1])
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			s.events = append(s.events, indexes(s.t, from, to))
		}
		out = append(out, s)
	}
	return out, nil
}

// indexes is the range of samples from one time to another, both included.
func indexes(t []time.Time, from, to time.Time) span {
	a := sort.Search(len(t), func(i int) bool { return !t[i].Before(from) })
	b := sort.Search(len(t), func(i int) bool { return t[i].After(to) })
	return span{a, b - 1}
}
