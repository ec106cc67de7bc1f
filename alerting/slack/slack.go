// Package slack puts Belay's messages into a Slack channel: one message per
// incident, edited in place so that it always shows the present truth, and
// the incident's story in its thread.
//
// Slack offers no idempotency key. A message therefore carries its own key as
// metadata, and when an earlier attempt may have got through, the channel is
// searched for that key before anything is posted again.
package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay/alerting"
)

// Options are what a Notifier can be given beyond its configuration.
type Options struct {
	// HTTPClient replaces the default, which waits 10 s for an answer and
	// follows no redirects.
	HTTPClient *http.Client
	// Log is told what people cannot see in the channel; nil discards.
	Log *slog.Logger
}

// Notifier is one channel of a workspace. It implements alerting.Notifier
// and may be used from several goroutines.
type Notifier struct {
	api     *slack.Client
	channel alerting.SlackChannel
	buttons bool // somebody takes what they ask for
	log     *slog.Logger

	mu sync.Mutex
	id string // of the channel, once Slack has said it
}

var _ alerting.Notifier = (*Notifier)(nil)

// New returns a notifier for one channel. It reads the app's token and
// touches no network.
func New(app alerting.Slack, channel alerting.SlackChannel, opts Options) (*Notifier, error) {
	if strings.TrimPrefix(channel.Channel, "#") == "" {
		return nil, errors.New("slack: no channel is named")
	}
	token, err := app.Token()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("slack: no bot token is set")
	}
	client, log := opts.HTTPClient, opts.Log
	if client == nil {
		client = defaultClient()
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	options := []slack.Option{slack.OptionHTTPClient(client)}
	if app.APIURL != "" {
		options = append(options, slack.OptionAPIURL(strings.TrimSuffix(app.APIURL, "/")+"/"))
	}
	n := &Notifier{api: slack.New(token, options...), channel: channel, buttons: Interactive(app), log: log}
	if channelID.MatchString(channel.Channel) {
		n.id = channel.Channel
	}
	return n, nil
}

// channelID is what an id looks like. Names are lower case.
var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{8,}$`)

func defaultClient() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		// A redirect would carry the token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Notify implements alerting.Notifier. The ref is "channel id:ts". While
// m.Retry is set, every error that is not permanent Is
// alerting.ErrAmbiguous until the channel was searched, so that a caller who
// goes by the last error alone keeps asking for the search.
func (n *Notifier) Notify(ctx context.Context, m alerting.Message) (string, error) {
	to := target{channel: n.address()}
	switch m.Kind {
	case alerting.Parent:
	case alerting.Reply:
		channel, ts, ok := splitRef(m.Thread)
		if !ok {
			return "", fmt.Errorf("slack: %q names no message to reply to: %w", m.Thread, alerting.ErrPermanent)
		}
		to = target{channel: channel, thread: ts}
	default:
		return "", fmt.Errorf("slack: no such kind of message: %q: %w", m.Kind, alerting.ErrPermanent)
	}
	d := draw(m, n.buttons)
	ref, err := n.settle(ctx, m, d)
	if ref != "" || err != nil {
		return ref, err
	}
	if m.Picture != nil && !m.Retry {
		n.illustrate(ctx, m, &d)
	}
	return n.post(ctx, to, d)
}

// settle edits the message where it is known, or finds it where an earlier
// attempt may have left it. It returns "" when it has to be posted.
func (n *Notifier) settle(ctx context.Context, m alerting.Message, d drawing) (string, error) {
	if m.Ref != "" {
		err := n.edit(ctx, m.Ref, d)
		if err == nil {
			return m.Ref, nil
		}
		if !errors.Is(err, errGone) {
			return "", unsure(m, err)
		}
		n.log.Warn("slack message can no longer be edited, posting a new one", "ref", m.Ref, "error", err)
	}
	if !m.Retry {
		return "", nil
	}
	ref, err := n.find(ctx, m)
	if err != nil {
		return "", unsure(m, err)
	}
	if ref == "" || m.Kind == alerting.Reply {
		return ref, nil
	}
	// What was found tells what was true when it was posted.
	err = n.edit(ctx, ref, d)
	switch {
	case err == nil:
		return ref, nil
	case !errors.Is(err, errGone):
		return "", unsure(m, err)
	}
	return "", nil // it is gone by now: post it
}

// A target is where a message is posted.
type target struct{ channel, thread string }

// post posts a message, with fewer blocks each time Slack refuses them.
func (n *Notifier) post(ctx context.Context, to target, d drawing) (string, error) {
	options := []slack.MsgOption{
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
		slack.MsgOptionLinkNames(false), slack.MsgOptionParse(false),
	}
	if n.channel.Username != "" {
		options = append(options, slack.MsgOptionUsername(n.channel.Username))
	}
	if to.thread != "" {
		options = append(options, slack.MsgOptionTS(to.thread))
		if d.aloud {
			options = append(options, slack.MsgOptionBroadcast())
		}
	}
	var channel, ts string
	err := n.descend(d, func(content slack.MsgOption) error {
		return n.call(ctx, "chat.postMessage", mayRepeat(false), func(ctx context.Context) (err error) {
			channel, ts, err = n.api.PostMessageContext(ctx, to.channel, append(options, content)...)
			if err == nil && (channel == "" || ts == "") {
				err = errNoName
			}
			return err
		})
	})
	if err != nil {
		return "", err
	}
	n.learn(channel)
	return channel + ":" + ts, nil
}

// edit replaces a message's whole content. It returns errGone when Slack no
// longer lets it be edited.
func (n *Notifier) edit(ctx context.Context, ref string, d drawing) error {
	channel, ts, ok := splitRef(ref)
	if !ok {
		return fmt.Errorf("%w: %q is not a name of a message", errGone, ref)
	}
	return n.descend(d, func(content slack.MsgOption) error {
		return n.call(ctx, "chat.update", mayRepeat(true), func(ctx context.Context) error {
			_, _, _, err := n.api.UpdateMessageContext(ctx, channel, ts,
				slack.MsgOptionLinkNames(false), slack.MsgOptionParse(false), content)
			return err
		})
	})
}

// descend sends a drawing with all of its blocks, then only with those that
// it cannot do without, then as text, going down a rung each time Slack
// refuses the blocks.
func (n *Notifier) descend(d drawing, send func(slack.MsgOption) error) error {
	type rung struct {
		name   string
		blocks []slack.Block
	}
	rungs := []rung{{"all blocks", d.all}, {"needed blocks", d.needed}, {"text", nil}}
	if d.plain != nil {
		rungs = slices.Insert(rungs, 1, rung{"no picture", d.plain})
	}
	var err error
	for i, rung := range rungs {
		err = send(slack.MsgOptionCompose(
			slack.MsgOptionText(d.text, false),
			slack.MsgOptionBlocks(rung.blocks...), // none clears what was there
			slack.MsgOptionMetadata(metadata(d.key)),
		))
		if !errors.Is(err, errBlocks) {
			return err
		}
		if i+1 < len(rungs) {
			n.log.Warn("slack refused the blocks, sending less", "refused", rung.name, "next", rungs[i+1].name, "error", err)
		}
	}
	return fmt.Errorf("%w: %w", alerting.ErrPermanent, err)
}

// address returns the channel's id where it is known, otherwise its name.
func (n *Notifier) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.id != "" {
		return n.id
	}
	return n.channel.Channel
}

// learn remembers the channel's id.
func (n *Notifier) learn(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id = id
}

// splitRef reads "channel id:ts".
func splitRef(ref string) (channel, ts string, ok bool) {
	channel, ts, ok = strings.Cut(ref, ":")
	return channel, ts, ok && channel != "" && ts != ""
}
