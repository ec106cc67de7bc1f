package demo

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A waiting is the line at the foot of a terminal that shows that something is
// waited for.
type waiting struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	quit     chan struct{}
	done     sync.WaitGroup
}

const refresh = 120 * time.Millisecond

// startWaiting draws a bar that fills over the whole duration, and stays nearly
// full when that is not enough; without a duration a mark turns.
func startWaiting(out io.Writer, width int, what string, whole time.Duration) *waiting {
	w := &waiting{
		progress: mpb.New(mpb.WithOutput(out), mpb.WithWidth(max(10, min(40, width/3))), mpb.WithRefreshRate(refresh)),
		quit:     make(chan struct{}),
	}
	start := time.Now()
	seconds := decor.Any(func(decor.Statistics) string {
		if whole > 0 {
			return fmt.Sprintf("  %2.0f of %2.0fs", min(time.Since(start), whole).Seconds(), whole.Seconds())
		}
		return fmt.Sprintf("  %2.0fs", time.Since(start).Seconds())
	})
	label := decor.Name("         " + what + " ")
	if width < narrow {
		label = decor.Name("    " + what + " ")
	}
	if whole <= 0 {
		w.bar = w.progress.New(0, mpb.SpinnerStyle().PositionLeft(), mpb.BarWidth(1),
			mpb.PrependDecorators(label), mpb.AppendDecorators(seconds))
		return w
	}
	w.bar = w.progress.New(int64(whole)+1, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("·"),
		mpb.PrependDecorators(label), mpb.AppendDecorators(seconds))
	w.done.Go(func() {
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.bar.SetCurrent(int64(min(time.Since(start), whole)))
			case <-w.quit:
				return
			}
		}
	})
	return w
}

// stop takes the line away; what was written above it stays.
func (w *waiting) stop() {
	close(w.quit)
	w.done.Wait()
	w.bar.Abort(true)
	w.progress.Wait()
}
