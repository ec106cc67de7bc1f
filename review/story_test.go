package review

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/tools/txtar"

	"github.com/belaydev/belay"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A story is an incident as it lies in testdata.
type story struct {
	file     string
	archive  *txtar.Archive
	incident string
	interval time.Duration
	events   []belay.Event
	samples  storage.Queryable
}

func readStory(t testing.TB, name string) *story {
	t.Helper()
	s := &story{file: filepath.Join("testdata", name+".txtar")}
	var err error
	if s.archive, err = txtar.ParseFile(s.file); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.archive.Files {
		switch f.Name {
		case "settings":
			for line := range strings.Lines(string(f.Data)) {
				key, val, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch key {
				case "incident":
					s.incident = val
				case "interval":
					if s.interval, err = time.ParseDuration(val); err != nil {
						t.Fatal(err)
					}
				}
			}
		case "events":
			sc := bufio.NewScanner(bytes.NewReader(f.Data))
			sc.Buffer(nil, 1<<20)
			for sc.Scan() {
				var ev belay.Event
				if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
					t.Fatalf("%s: %v", s.file, err)
				}
				s.events = append(s.events, ev)
			}
		case "series":
			s.samples = storeSeries(t, string(f.Data), s.interval)
		}
	}
	return s
}

// storeSeries puts lines such as "13:30:00 up{a="b"} 1x10 _x5" into a real
// store; the time is that of the first value.
func storeSeries(t testing.TB, text string, step time.Duration) storage.Queryable {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	app := db.Appender(context.Background())
	for line := range strings.Lines(text) {
		first, series, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		at, err := time.Parse("2006-01-02 15:04:05", "2026-11-23 "+first)
		if err != nil {
			t.Fatal(err)
		}
		ls, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(series)
		if err != nil {
			t.Fatal(err)
		}
		missing := false
		for i, v := range values {
			ts, val := at.Add(time.Duration(i)*step).UnixMilli(), v.Value
			if v.Omitted {
				if missing {
					continue
				}
				missing, val = true, math.Float64frombits(value.StaleNaN) // as a scraper does
			} else {
				missing = false
			}
			if _, err := app.Append(0, ls, ts, val); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return db
}

func (s *story) dossier(t testing.TB) Dossier {
	t.Helper()
	d, err := Build(s.events, s.incident)
	if err != nil {
		t.Fatal(err)
	}
	d.URL = "https://belay.example.org/incidents/" + s.incident
	if err := d.Measure(context.Background(), s.samples, s.interval); err != nil {
		t.Fatal(err)
	}
	return d
}

// want compares with a part of the archive, or writes it anew.
func (s *story) want(t *testing.T, part string, got []byte) {
	t.Helper()
	for i := range s.archive.Files {
		f := &s.archive.Files[i]
		if f.Name != part {
			continue
		}
		if *update {
			f.Data = got
			s.save(t)
		} else if diff := cmp.Diff(string(f.Data), string(got)); diff != "" {
			t.Errorf("%s of %s (-want +got):\n%.4000s", part, s.file, diff)
		}
		return
	}
	if !*update {
		t.Fatalf("%s holds no %s; write it with -update", s.file, part)
	}
	s.archive.Files = append(s.archive.Files, txtar.File{Name: part, Data: got})
	s.save(t)
}

func (s *story) save(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.file, txtar.Format(s.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

var stories = []string{"errors", "crash", "gone", "notify", "before"}

func TestStories(t *testing.T) {
	for _, name := range stories {
		t.Run(name, func(t *testing.T) {
			s := readStory(t, name)
			md, svg, js := Render(s.dossier(t))
			s.want(t, "review.md", md)
			s.want(t, "review.svg", svg)

			again, svg2, js2 := Render(s.dossier(t))
			if !bytes.Equal(md, again) || !bytes.Equal(svg, svg2) || !bytes.Equal(js, js2) {
				t.Error("the same journal and samples gave other bytes the second time")
			}
			kept, err := Parse(js)
			if err != nil {
				t.Fatal(err)
			}
			again, svg2, js2 = Render(kept)
			if diff := cmp.Diff(string(md), string(again)); diff != "" {
				t.Errorf("rendered again from its JSON (-first +again):\n%s", diff)
			}
			if !bytes.Equal(svg, svg2) || !bytes.Equal(js, js2) {
				t.Error("figure or JSON differ when made again from the JSON")
			}
			for _, person := range []string{"Maria", "Weber", "Jonas", "Petersen"} {
				for form, text := range map[string][]byte{"page": md, "figure": svg, "JSON": js} {
					if bytes.Contains(text, []byte(person)) {
						t.Errorf("the %s names a person: %s", form, person)
					}
				}
			}
			if dir := os.Getenv("BELAY_REVIEW_OUT"); dir != "" { // to look at
				for ext, text := range map[string][]byte{"md": md, "svg": svg, "json": js} {
					if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.%s", name, ext)), text, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
