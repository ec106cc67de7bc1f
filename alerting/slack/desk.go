package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay/alerting"
)

// DeskOptions are what a Desk needs.
type DeskOptions struct {
	// Decide judges a click and does what it asks for, or refuses. It is
	// called once for each that Slack vouches for, from one of a few
	// goroutines, and answers with a sentence for whoever pressed. A click
	// that was sent twice is handed over twice: Decide must know its ID.
	Decide func(ctx context.Context, c Click) (answer string)
	// Refused is told of each request that got no further, and why. nil
	// tells nobody.
	Refused    func(reason string)
	HTTPClient *http.Client // nil: see Options
	Log        *slog.Logger // nil discards
}

// A Desk takes what people do with the buttons of messages: over Socket Mode,
// which needs no open port, where the app has an app-level token, otherwise
// over HTTP. Both lead to the same handler. Every click that Slack vouches for
// is answered, seen by the person who clicked alone.
type Desk struct {
	opts   DeskOptions
	api    *slack.Client
	secret func() ([]string, error) // signing secrets; the second is the one before a rotation
	socket bool
	queue  chan Click

	mu   sync.Mutex
	home home
}

// home is the workspace and app that the bot token belongs to.
type home struct{ team, app string }

// The desk's size: how many clicks are judged at once, and how many wait.
const (
	deskClerks = 4
	deskQueue  = 100
)

// NewDesk returns a desk, or nil where the configuration has neither an
// app-level token nor a signing secret, and buttons would be of no use. It
// touches no network.
func NewDesk(app alerting.Slack, opts DeskOptions) (*Desk, error) {
	if !Interactive(app) {
		return nil, nil
	}
	if opts.Decide == nil {
		return nil, errors.New("slack: nobody decides about clicks")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Refused == nil {
		opts.Refused = func(string) {}
	}
	if opts.HTTPClient == nil {
		opts.HTTPClient = defaultClient()
	}
	token, err := app.Token()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("slack: buttons need a bot token")
	}
	options := []slack.Option{slack.OptionHTTPClient(opts.HTTPClient)}
	if app.APIURL != "" {
		options = append(options, slack.OptionAPIURL(strings.TrimSuffix(app.APIURL, "/")+"/"))
	}
	d := &Desk{opts: opts, socket: app.AppTokenFile != "", queue: make(chan Click, deskQueue)}
	if d.socket {
		appToken, err := readSecret("app_token_file", app.AppTokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, slack.OptionAppLevelToken(appToken[0]))
	} else {
		file := app.SigningSecretFile
		d.secret = func() ([]string, error) { return readSecret("signing_secret_file", file) }
		if _, err := d.secret(); err != nil {
			return nil, err
		}
	}
	d.api = slack.New(token, options...)
	return d, nil
}

// Interactive says whether messages of this app may carry buttons.
func Interactive(app alerting.Slack) bool {
	return app.AppTokenFile != "" || app.SigningSecretFile != ""
}

// readSecret returns the words of a file: one secret, or two while it is
// rotated, the new one first.
func readSecret(key, file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("slack %s: %w", key, err)
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return nil, fmt.Errorf("slack %s %s: it is empty", key, file)
	}
	return words[:min(len(words), 2)], nil
}

// Run judges what is clicked until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	var clerks sync.WaitGroup
	for range deskClerks {
		clerks.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-d.queue:
					d.serve(ctx, c)
				}
			}
		})
	}
	if d.socket {
		d.listen(ctx)
	}
	clerks.Wait()
	return nil
}

// ServeHTTP takes an interaction that Slack sends, and says yes to it as soon
// as it is known to come from Slack. What was asked is done after that, and
// answered in the channel, since Slack waits for three seconds only.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.socket {
		http.Error(w, "buttons come over Socket Mode here: slack.app_token_file is set", http.StatusNotFound)
		return
	}
	payload, code, err := d.vouched(w, r)
	if err != nil {
		d.refuse(err.Error())
		http.Error(w, err.Error(), code)
		return
	}
	if err := d.take(payload); err != nil {
		d.refuse(err.Error())
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// vouched returns the payload of a request, once its signature is right: the
// HMAC of the raw body and of a time within five minutes. What stands in the
// address is not read.
func (d *Desk) vouched(w http.ResponseWriter, r *http.Request) (payload []byte, code int, err error) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("interactions are posted")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		return nil, http.StatusRequestEntityTooLarge, errors.New("the body cannot be read, or is larger than 1 MiB")
	}
	secrets, err := d.secret()
	if err != nil {
		return nil, http.StatusInternalServerError, errors.New("the signing secret cannot be read")
	}
	if !signed(r.Header, body, secrets) {
		return nil, http.StatusUnauthorized, errors.New("the request is not signed by Slack, or is older than five minutes")
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, http.StatusUnsupportedMediaType, errors.New("an interaction is a form with the field payload")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["payload"]) != 1 {
		return nil, http.StatusBadRequest, errors.New("an interaction is a form with the field payload")
	}
	return []byte(form.Get("payload")), 0, nil
}

func signed(h http.Header, body []byte, secrets []string) bool {
	for _, s := range secrets {
		v, err := slack.NewSecretsVerifier(h, s)
		if err != nil {
			continue // a missing or old time, or no signature
		}
		if _, err := v.Write(body); err == nil && v.Ensure() == nil {
			return true
		}
	}
	return false
}

// take queues an interaction. An error means that nothing will come of it.
func (d *Desk) take(payload []byte) error {
	c, err := parseClick(payload)
	switch {
	case errors.Is(err, errNotOurs):
		return nil
	case err != nil:
		d.refuse(err.Error()) // Slack vouched for it: asking again would not help
		return nil
	}
	select {
	case d.queue <- c:
		return nil
	default:
		return fmt.Errorf("%d clicks wait already, please try again", deskQueue)
	}
}

func (d *Desk) refuse(reason string) {
	d.opts.Log.Warn("slack interaction refused", "reason", reason)
	d.opts.Refused(reason)
}

// serveTime bounds one click, from the queue to the answer.
const serveTime = 30 * time.Second

// serve judges one click and answers it.
func (d *Desk) serve(ctx context.Context, c Click) {
	ctx, cancel := context.WithTimeout(ctx, serveTime)
	defer cancel()
	c.Foreign = d.foreign(ctx, c)
	if c.Foreign == "" && c.Action.asksWords() && c.Words == "" {
		if _, err := d.api.OpenViewContext(ctx, c.trigger, c.dialogue()); err != nil {
			d.opts.Log.Warn("slack dialogue cannot be opened", "error", err)
			d.answer(ctx, c, "Nothing was done: Slack did not open the dialogue. Please press the button again.")
		}
		return
	}
	d.answer(ctx, c, d.opts.Decide(ctx, c))
}

// foreign says why a click is not from this workspace and app, "" when it is.
// While Slack does not tell which those are, every click is foreign.
func (d *Desk) foreign(ctx context.Context, c Click) string {
	at, err := d.where(ctx)
	switch {
	case err != nil:
		d.opts.Log.Warn("slack does not say which app this is", "error", err)
		return "Slack does not say which app and workspace Belay belongs to, so nobody can be trusted yet"
	case c.Team != at.team:
		return "it was pressed in another workspace"
	case c.App != at.app:
		return "it was sent for another app"
	case c.Home != "" && c.Home != at.team:
		return "guests of another workspace may not act here"
	}
	return ""
}

// where asks Slack, once, whose token this is.
func (d *Desk) where(ctx context.Context) (home, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.home.team != "" {
		return d.home, nil
	}
	who, err := d.api.AuthTestContext(ctx)
	if err != nil {
		return home{}, fmt.Errorf("auth.test: %w", err)
	}
	bot, err := d.api.GetBotInfoContext(ctx, slack.GetBotInfoParameters{Bot: who.BotID, TeamID: who.TeamID})
	if err != nil {
		return home{}, fmt.Errorf("bots.info: %w", err)
	}
	if who.TeamID == "" || bot.AppID == "" {
		return home{}, errors.New("slack names no workspace, or no app")
	}
	d.home = home{team: who.TeamID, app: bot.AppID}
	return d.home, nil
}

// answer tells whoever clicked, and nobody else, what became of it.
func (d *Desk) answer(ctx context.Context, c Click, text string) {
	if text == "" {
		return
	}
	_, err := d.api.PostEphemeralContext(ctx, c.Channel, c.User,
		slack.MsgOptionText(markup(text, maxSection), false), slack.MsgOptionLinkNames(false), slack.MsgOptionParse(false),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	if err != nil {
		d.opts.Log.Warn("slack click cannot be answered", "user", c.User, "action", string(c.Action), "answer", text, "error", err)
	}
}

// discard is a log of nothing, for a library that insists on one.
type discard struct{}

func (discard) Output(int, string) error { return nil }
