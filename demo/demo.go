package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/belaydev/belay"
)

// Options say which incident is played, where, and how it is told.
type Options struct {
	Fault     Fault  // "" is FaultErrors
	Platform  string // one of Platforms; "" is PlatformCommand
	Dir       string // where its files lie; "" makes a new directory
	Listen    string // of Belay's pages; "" chooses
	NoBrowser bool   // do not open the pages
	Once      bool   // end after the review, without staying up for people to look

	Binary string              // this program, which can run, releases and demo shop
	Out    io.Writer           // where the story is told
	Getenv func(string) string // nil is os.Getenv
}

// requestRate is how many customers come each second.
const requestRate = 60

// Run plays one incident and tells it. It returns nil when the loop was closed,
// or when nothing was wrong and nothing was done; context.Canceled when somebody
// ended it; and otherwise what went wrong. All processes have ended when it
// returns; the files stay.
func Run(ctx context.Context, opts Options) error {
	if opts.Fault == "" {
		opts.Fault = FaultErrors
	}
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	s, err := newScene(ctx, sceneOptions{
		Dir: opts.Dir, Listen: opts.Listen, Binary: opts.Binary, Platform: opts.Platform, Fault: opts.Fault, Tempo: opts.Fault.tempo(), Rate: requestRate,
	})
	if err != nil {
		return err
	}
	term := describeTerminal(opts.Out, opts.Getenv)
	p := &play{Options: opts, scene: s, story: newStory(opts.Out, term, time.Now())}
	p.watch = &watcher{scene: s, witness: witness{fault: opts.Fault}, tell: func(t turn) { p.story.say(t.At, t.Who, "%s", t.Text) }}
	err = p.perform(ctx)
	p.story.settle()
	if stopped := s.Close(ctx); err == nil {
		err = stopped
	}
	return p.conclude(err)
}

// A play is one performance of a scene.
type play struct {
	Options
	scene   *scene
	story   *story
	watch   *watcher
	verdict string // the last line, once the play has reached its end
}

func (p *play) perform(ctx context.Context) error {
	p.prologue()
	if err := p.scene.Start(ctx); err != nil {
		return err
	}
	if err := p.soak(ctx); err != nil {
		return err
	}
	if err := p.scene.Release(ctx, nextVersion); err != nil {
		return err
	}
	p.story.say(p.scene.released, "people", "release %s", nextVersion)
	if p.Fault == FaultNone {
		return p.leaveAlone(ctx)
	}
	if err := p.catch(ctx); err != nil {
		return err
	}
	return p.epilogue(ctx)
}

func (p *play) prologue() {
	p.story.paragraph("A small shop runs on this machine, %d requests a second go through it, and Belay watches. "+
		"Soon version %s will be released: %s. Nobody tells Belay.", requestRate, nextVersion, p.Fault.explained())
	p.story.paragraph("Everything lies in %s", p.scene.dir.Path)
	p.story.paragraph("")
}

// soak waits until Belay runs and knows the first version as good.
func (p *play) soak(ctx context.Context) error {
	p.story.wait("Belay starts", 0)
	ready := func() bool { return p.scene.api.Ready(ctx) == nil }
	if err := p.watch.until(ctx, "belay is ready", 30*time.Second, ready); err != nil {
		return err
	}
	p.story.say(time.Now(), "belay", "watches, as a process of its own: http://%s", p.scene.at.Belay)
	p.story.say(time.Now(), "slack", "a local one, to look at: http://%s", p.scene.at.Slack)
	if !p.NoBrowser && !p.Once && p.story.term.live {
		openBrowser(ctx, "http://"+p.scene.at.Belay)
	}
	return p.untilGood(ctx, goodVersion)
}

func (p *play) untilGood(ctx context.Context, version string) error {
	soak := p.scene.Tempo.Soak
	p.story.wait(version+" soaks until it is known good", soak+time.Second)
	defer p.story.settle()
	return p.watch.until(ctx, version+" becomes known good", 3*soak+30*time.Second, func() bool {
		return !p.watch.Good[version].IsZero() || (p.Fault == FaultNone && len(p.watch.Incidents) > 0)
	})
}

// leaveAlone waits until a release with nothing wrong is known good, and sees
// to it that nothing was done.
func (p *play) leaveAlone(ctx context.Context) error {
	if err := p.untilGood(ctx, nextVersion); err != nil {
		return err
	}
	incidents, rollbacks := len(p.watch.Incidents), len(p.watch.Rollbacks)
	if incidents+rollbacks > 0 {
		return fmt.Errorf("nothing was wrong, and yet there are %d incidents, %d rollbacks", incidents, rollbacks)
	}
	p.verdict = "healthy, 0 incidents, 0 rollbacks"
	return p.epilogue(ctx)
}

// catch waits until the loop is closed, and shows what it waits for.
func (p *play) catch(ctx context.Context) error {
	w, t := p.watch, p.scene.Tempo
	for _, stage := range []struct {
		what  string
		limit time.Duration
		bar   time.Duration
		ok    func() bool
	}{
		{"customers meet " + nextVersion, 30 * time.Second, 0, func() bool { return !w.Fault.IsZero() }},
		{"Belay scrapes and judges", time.Minute, 0, func() bool { return !w.Rollback.VetoUntil.IsZero() }},
		{"anyone may stop the rollback", t.Veto + 30*time.Second, t.Veto, func() bool { return !w.Rollback.IntentAt.IsZero() }},
		{goodVersion + " comes back", time.Minute, 0, func() bool { return !w.Rollback.HealthyAt.IsZero() }},
		{"recovery must hold", 3*t.RecoveryHold + time.Minute, t.RecoveryHold, func() bool { return w.Rollback.State == belay.RollbackRecovered }},
		{"the review is written", 30 * time.Second, 0, w.done},
	} {
		p.story.wait(stage.what, stage.bar)
		err := w.until(ctx, stage.what, stage.limit, stage.ok)
		p.story.settle()
		if err != nil {
			return err
		}
	}
	return nil
}

// epilogue sums up, and stays for people to look around if they can.
func (p *play) epilogue(ctx context.Context) error {
	if p.verdict == "" {
		if err := p.settleAccounts(ctx); err != nil {
			return err
		}
		p.verdict = "loop closed in " + fmt.Sprintf("%.1fs", p.watch.ReviewAt.Sub(p.watch.Fault).Seconds())
	}
	if p.Once || !p.story.term.live {
		return nil
	}
	p.story.verdict(toneGood, p.verdict)
	p.story.paragraph("\nEverything still runs. Look around, and press Ctrl-C to end it:")
	rows := [][]string{{"Belay", "http://" + p.scene.at.Belay}, {"Slack", "http://" + p.scene.at.Slack}}
	if id := p.watch.Review.Incident; id != "" {
		rows = append(rows, []string{"review", "http://" + p.scene.at.Belay + "/reviews/" + id})
	}
	p.story.table(rows)
	return p.stay(ctx)
}

// stay waits for Ctrl-C, or for the terminal to go away.
func (p *play) stay(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-p.scene.failed:
			return err
		case <-p.scene.belay.Ended():
			return p.scene.belay.Why()
		case <-tick.C:
			if f, ok := p.Out.(*os.File); ok && !isTerminal(f) {
				return nil
			}
		}
	}
}

// conclude says how it ended; the last line is the verdict.
func (p *play) conclude(err error) error {
	dir := p.scene.dir.Path
	switch {
	case err == nil:
		p.story.verdict(toneGood, p.verdict)
		return nil
	case errors.Is(err, context.Canceled):
		p.story.paragraph("\nEnded. Every process of the demo is gone; the files are in %s", dir)
		return err
	}
	p.story.paragraph("\nThis did not end as it should. What was done and seen lies in:")
	p.story.table([][]string{
		{"Belay's log", filepath.Join(dir, belayLog)},
		{"demo's log", filepath.Join(dir, demoLog)},
		{"shop's log", filepath.Join(dir, shopLog)},
	})
	return fmt.Errorf("demo: %w", err)
}

// openBrowser shows a page to people who have a desktop, and is quiet where
// there is none.
func openBrowser(ctx context.Context, url string) {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, url)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
