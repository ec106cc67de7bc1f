package rules

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay/rules/anomaly"
)

// The file in which watches outlive the process: a line that names the format,
// the CRC-32C of what follows in four bytes, and a gob of savedWatches.
const (
	watchMagic  = "belay anomaly state 1\n"
	watchEvery  = time.Minute // and not more often than takes a twentieth of the time
	maxWatchLen = 1 << 30     // bytes
)

type savedWatch struct {
	Rule, Key string
	At        time.Time
	Series    []savedSeries
}

type savedSeries struct {
	Labels                []string // names and values in turn
	Detector              []byte
	Judged                anomaly.Judgement
	DataAt, Changed, Seen time.Time
}

// saved copies what a watch has learned. The group's mutex is held.
func (w *watch) saved(rule string) savedWatch {
	out := savedWatch{Rule: rule, Key: w.key, At: w.at, Series: make([]savedSeries, 0, len(w.series))}
	for _, s := range w.series {
		one := savedSeries{Detector: s.detector.Snapshot(), Judged: s.judged, DataAt: s.dataAt, Changed: s.changed, Seen: s.seen}
		s.metric.Range(func(l labels.Label) { one.Labels = append(one.Labels, l.Name, l.Value) })
		out.Series = append(out.Series, one)
	}
	return out
}

// restore takes over what was saved of the same rule. It is no error when that
// does not fit any more: then the watch learns again.
func (w *watch) restore(from savedWatch) {
	if from.Key != w.key || len(from.Series) > maxWatched {
		return
	}
	w.at = from.At.UTC()
	for _, s := range from.Series {
		d, err := anomaly.New(w.cfg)
		if err != nil || len(s.Labels)%2 != 0 || d.Restore(s.Detector) != nil {
			continue
		}
		metric := labels.FromStrings(s.Labels...)
		w.series[metric.Hash()] = &watched{metric: metric, detector: d, judged: s.Judged, dataAt: s.DataAt, changed: s.Changed, seen: s.Seen}
	}
}

// keepWatches saves the watches again and again until ctx ends.
func (e *Engine) keepWatches(ctx context.Context) {
	pause := watchEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		start := time.Now()
		e.saveWatches()
		pause = max(watchEvery, 20*time.Since(start))
	}
}

// saveWatches replaces the file. When that is not possible the one before it
// stays, and what came since is learned from stored samples.
func (e *Engine) saveWatches() {
	if e.options().AnomalyState == "" {
		return
	}
	var all []savedWatch
	e.each(func(st *ruleState) {
		if st.watch != nil && len(st.watch.series) > 0 {
			all = append(all, st.watch.saved(st.rule.ID))
		}
	})
	if len(all) == 0 {
		return
	}
	if err := writeWatches(e.options().AnomalyState, all); err != nil {
		e.log.Warn("what anomaly rules have learned could not be saved", "file", e.options().AnomalyState, "error", err)
	}
}

func writeWatches(path string, all []savedWatch) (err error) {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(all); err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint32([]byte(watchMagic), crc32.Checksum(body.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(head, body.Bytes()...))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func readWatches(path string) ([]savedWatch, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxWatchLen {
		return nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxWatchLen)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeWatches(text)
}

func decodeWatches(text []byte) ([]savedWatch, error) {
	rest, ok := bytes.CutPrefix(text, []byte(watchMagic))
	if !ok || len(rest) < 4 {
		return nil, errors.New("it is no state of anomaly rules, or one of another version")
	}
	if crc32.Checksum(rest[4:], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(rest) {
		return nil, errors.New("its checksum is wrong")
	}
	var all []savedWatch
	if err := gob.NewDecoder(bytes.NewReader(rest[4:])).Decode(&all); err != nil {
		return nil, err
	}
	return all, nil
}

// restoreWatches gives the rules of a plan what they had learned before the
// process ended. A file that cannot be read costs time, not truth: the rules
// learn again from stored samples.
func (e *Engine) restoreWatches(p *plan) {
	if e.options().AnomalyState == "" {
		return
	}
	all, err := readWatches(e.options().AnomalyState)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Warn("what anomaly rules had learned cannot be read; they learn again", "file", e.options().AnomalyState, "error", err)
	}
	byRule := make(map[string]savedWatch, len(all))
	for _, w := range all {
		byRule[w.Rule] = w
	}
	for _, g := range p.groups {
		for _, st := range g.rules {
			if from, ok := byRule[st.rule.ID]; ok && st.watch != nil {
				g.locked(func() { st.watch.restore(from) })
			}
		}
	}
}
