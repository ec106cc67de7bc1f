package slack

import (
	"context"
	"time"

	"github.com/slack-go/slack/socketmode"
)

// Pauses between attempts at a connection that Slack refuses.
const (
	minSocketPause = time.Second
	maxSocketPause = time.Minute
)

// listen takes interactions over Socket Mode until ctx ends. The library opens
// a lost connection again by itself; what it gives up on (a token that Slack
// does not take) is tried again here, ever more slowly.
func (d *Desk) listen(ctx context.Context) {
	for wait := minSocketPause; ; wait = min(2*wait, maxSocketPause) {
		began := time.Now()
		err := d.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxSocketPause {
			wait = minSocketPause
		}
		d.opts.Log.Error("slack sends no clicks: Socket Mode has ended", "error", err, "again_in", wait.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// connect serves one client of the library, over as many connections as it
// makes.
func (d *Desk) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	client := socketmode.New(d.api, socketmode.OptionLog(discard{}), socketmode.OptionReadLimit(maxPayload))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case ev := <-client.Events:
				d.event(ctx, client, ev)
			}
		}
	}()
	err := client.RunContext(ctx)
	cancel()
	<-done
	return err
}

// event takes one event of the connection. An interaction is acknowledged once
// it is queued: one that is not, Slack sends again.
func (d *Desk) event(ctx context.Context, client *socketmode.Client, ev socketmode.Event) {
	switch ev.Type {
	case socketmode.EventTypeConnected:
		d.opts.Log.Info("slack sends clicks over Socket Mode")
	case socketmode.EventTypeConnectionError:
		d.opts.Log.Warn("slack cannot be reached for Socket Mode", "error", ev.Data)
	case socketmode.EventTypeInteractive:
		if ev.Request == nil {
			return
		}
		if err := d.take(ev.Request.Payload); err != nil {
			d.refuse(err.Error())
			return
		}
		if err := client.AckCtx(ctx, ev.Request.EnvelopeID, nil); err != nil {
			d.opts.Log.Warn("slack click cannot be acknowledged", "error", err)
		}
	}
}
