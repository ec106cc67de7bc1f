package collector

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/storage"
)

// Receiver returns the storage for samples that others send in: as the
// Collector itself, but the names of the metrics are remembered; see Pushed.
// It fits remote.NewWriteHandler.
func (c *Collector) Receiver() storage.AppendableV2 { return receiver{c} }

type receiver struct{ c *Collector }

func (r receiver) AppenderV2(ctx context.Context) storage.AppenderV2 {
	db := r.c.db.Load()
	if db == nil {
		return closed{}
	}
	t := r.c.tap(ctx, db)
	t.pushed, t.filter = true, r.c.filter.active()
	return t
}

// Pushed reports whether samples of that metric were sent in by others, within
// the retention, restarts included: whoever reads them cannot rely on Belay
// having seen them itself. When too many names were sent in to be remembered,
// it holds for every name. The empty name asks whether any was sent in.
func (c *Collector) Pushed(name string) bool { return c.pushes.has(name, time.Now()) }

// Limits of what is remembered of pushes.
const (
	maxPushed    = 100_000
	pushedFile   = "pushed" // in the folder of the storage: a time and a name in each line
	rememberEach = time.Hour
)

// pushes remembers names of metrics that were sent in, on disk before the
// samples count.
type pushes struct {
	mu     sync.RWMutex
	path   string
	within time.Duration
	last   map[string]time.Time // when the name was written down last
	flood  bool
	damage error // why the file cannot be read
}

// open reads what a run before has left. What cannot be read counts as pushed.
func (p *pushes) open(dir string, retention time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path, p.within, p.last = filepath.Join(dir, pushedFile), retention, map[string]time.Time{}
	text, err := os.ReadFile(p.path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		p.flood, p.damage = true, err
		return
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line(lines.Text(), now)
	}
	if lines.Err() != nil {
		p.flood, p.damage = true, lines.Err()
	}
}

// line reads one line; a torn one is that of a push that was never accepted.
func (p *pushes) line(text string, now time.Time) {
	var ms int64
	var quoted string
	if _, err := fmt.Sscanf(text, "%d %q", &ms, &quoted); err != nil {
		return
	}
	if at := time.UnixMilli(ms); now.Sub(at) <= p.within+rememberEach {
		p.note(quoted, at)
	}
}

func (p *pushes) note(name string, at time.Time) {
	if len(p.last) >= maxPushed {
		p.flood = true
		return
	}
	p.last[name] = at
}

func (p *pushes) keep(retention time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.within = retention
}

func (p *pushes) has(name string, now time.Time) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	counts := func(at time.Time) bool { return now.Sub(at) <= p.within+rememberEach }
	if name == "" {
		for _, at := range p.last {
			if counts(at) {
				return true
			}
		}
		return p.flood
	}
	at, ok := p.last[name]
	return p.flood || ok && counts(at)
}

// add writes the names down; each at most once in a while.
func (p *pushes) add(names map[string]string, now time.Time) error {
	p.mu.RLock()
	var fresh []string
	for name := range names {
		if at, ok := p.last[name]; !p.flood && (!ok || now.Sub(at) >= rememberEach) {
			fresh = append(fresh, name)
		}
	}
	p.mu.RUnlock()
	if len(fresh) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var text []byte
	for _, name := range fresh {
		text = append(strconv.AppendQuote(append(strconv.AppendInt(text, now.UnixMilli(), 10), ' '), name), '\n')
	}
	f, err := os.OpenFile(p.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		_ = f.Close() // the first error tells more
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, name := range fresh {
		p.note(name, now)
	}
	return nil
}
