package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	data := flag.String("data", os.Getenv("BELAY_DATA"), "folder of the labelled data (default: shared/data beside the checkout)")
	rounds := flag.Int("bootstrap", 200, "rounds of the bootstrap intervals")
	draw := flag.String("pictures", "", "draw the pictures of docs/anomaly-rules.md into this folder, and do nothing else")
	flag.Parse()
	if *draw != "" {
		exit(drawPictures(*draw))
	}
	if *data == "" {
		*data = findData()
	}
	exit(report(os.Stdout, *data, *rounds))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "scores: "+err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// findData looks for shared/data beside this checkout, going upward.
func findData() string {
	dir, err := os.Getwd()
	if err != nil {
		return filepath.Join("..", "shared", "data")
	}
	for {
		candidate := filepath.Join(dir, "shared", "data")
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate
		}
		up := filepath.Dir(dir)
		if up == dir {
			return filepath.Join("..", "shared", "data")
		}
		dir = up
	}
}

// row is one line of the result.
func row(out io.Writer, name, metric, value, demand, verdict string) error {
	_, err := fmt.Fprintf(out, "%-17s %-34s %-28s %-7s %s\n", name, metric, value, demand, verdict)
	return err
}

// atLeast is a row whose value was demanded to be at least so large.
func atLeast(out io.Writer, name, metric string, value, low, high, demand float64, form string) error {
	verdict := "not"
	if value >= demand {
		verdict = "reached"
	}
	return row(out, name, metric, fmt.Sprintf(form+" ["+form+","+form+"]", value, low, high), fmt.Sprintf("≥"+form, demand), verdict)
}

// shown is a row without a demand.
func shown(out io.Writer, name, metric, value string) error {
	return row(out, name, metric, value, "-", "-")
}

// report prints every row. Data that is not there is a row that says so.
func report(out io.Writer, data string, rounds int) error {
	sets := []struct {
		name     string
		load     func(string) ([]series, error)
		score    func(io.Writer, string, []series, int, demands) error
		demanded demands
	}{
		{"nab", loadNAB, scoreNAB, demands{nab: 63, lowFP: 60}},
		{"web-services", loadLabelled, scoreEvents, demands{f1: 0.80, recall: 0.88}},
		{"cloud-monitoring", loadLabelled, scoreEvents, demands{f1: 0.52, recall: 0.72}},
		{"changes", loadChanges, scoreChanges, demands{auc: 0.975}},
	}
	for _, s := range sets {
		dir := filepath.Join(data, s.name)
		set, err := s.load(dir)
		if errors.Is(err, fs.ErrNotExist) {
			if err := row(out, s.name, "data", "missing: no "+dir, "-", "not"); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.score(out, s.name, set, rounds, s.demanded); err != nil {
			return err
		}
	}
	return nil
}

// demands are what a set is to reach.
type demands struct{ nab, lowFP, f1, recall, auc float64 }
