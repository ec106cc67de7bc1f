package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay/alerting"
)

var (
	// errGone: the message is not there, or may not be edited any more.
	errGone = errors.New("the message cannot be edited")
	// errBlocks: Slack refused the blocks, fewer of them may pass.
	errBlocks = errors.New("the blocks were refused")
	// errNoName: Slack answered, but with no name for the message.
	errNoName = errors.New("the answer names no message")
	// errRefused marks every answer in which Slack said no by code.
	errRefused = errors.New("refused")
)

// mayRepeat says that doing a call twice is the same as doing it once.
type mayRepeat bool

// call makes one call to Slack and classifies its error as the Notifier's
// contract asks.
func (n *Notifier) call(ctx context.Context, method string, repeat mayRepeat, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("slack %s: %w", method, err)
	}
	var asked, wrote atomic.Bool
	err := do(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { asked.Store(true) },
		WroteHeaders: func() { wrote.Store(true) },
	}))
	if err == nil {
		return nil
	}
	// A transport that reports nothing may have written.
	written := wrote.Load() || !asked.Load()
	return fmt.Errorf("slack %s: %w", method, classify(err, written && !bool(repeat)))
}

// classify turns an error of slack-go into one of the Notifier's contract.
// stored says that Slack may have done what it was asked although no answer
// says so, and that this matters.
func classify(err error, stored bool) error {
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var answer slack.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		return &alerting.RetryAfterError{After: limited.RetryAfter, Err: err}
	case errors.As(err, &status) && status.Code == http.StatusTooManyRequests:
		return &alerting.RetryAfterError{After: defaultRetryAfter, Err: err}
	case errors.As(err, &status) && status.Code < http.StatusInternalServerError:
		return err // a proxy's word, not Slack's: nothing was stored
	case errors.As(err, &answer):
		return byCode(answer, stored)
	case stored:
		return fmt.Errorf("%w: %w", alerting.ErrAmbiguous, err)
	}
	return err
}

// defaultRetryAfter is for a rate limit that names no time.
const defaultRetryAfter = 5 * time.Second

// byCode classifies what Slack said in its answer.
func byCode(answer slack.SlackErrorResponse, stored bool) error {
	code := answer.Err
	switch code {
	case "ratelimited", "rate_limited":
		return &alerting.RetryAfterError{After: defaultRetryAfter, Err: answer}
	case "message_not_found", "cant_update_message", "edit_window_closed":
		return fmt.Errorf("%w: %s", errGone, code)
	case "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long":
		return fmt.Errorf("%w: %s %v", errBlocks, code, answer.ResponseMetadata.Messages)
	case "internal_error", "fatal_error": // by Slack's own words part of it may be done
		if stored {
			return fmt.Errorf("%w: %s", alerting.ErrAmbiguous, code)
		}
		return answer
	case "service_unavailable", "request_timeout", "team_added_to_org":
		return answer
	}
	if advice := advise(answer); advice != "" {
		code += " (" + advice + ")"
	}
	return fmt.Errorf("%w: %w: %s", alerting.ErrPermanent, errRefused, code)
}

// advise says what a person can do about a refusal, "" when there is nothing
// to say beyond its name.
func advise(answer slack.SlackErrorResponse) string {
	switch answer.Err {
	case "not_in_channel":
		return "invite the app to the channel"
	case "channel_not_found":
		return "is the name right, and is the app a member if the channel is private?"
	case "is_archived":
		return "the channel is archived"
	case "not_authed", "invalid_auth", "token_revoked", "token_expired", "account_inactive":
		return "put a valid bot token into slack.bot_token_file"
	case "missing_scope":
		return "the app lacks the scope " + answer.Needed
	}
	return ""
}

// unsure keeps a retry a retry: whatever went wrong before the channel was
// searched, the earlier attempt may still have got through.
func unsure(m alerting.Message, err error) error {
	if !m.Retry || errors.Is(err, alerting.ErrPermanent) || errors.Is(err, alerting.ErrAmbiguous) {
		return err
	}
	var later *alerting.RetryAfterError
	if errors.As(err, &later) {
		return &alerting.RetryAfterError{After: later.After, Err: fmt.Errorf("%w: %w", alerting.ErrAmbiguous, later.Err)}
	}
	return fmt.Errorf("%w: %w", alerting.ErrAmbiguous, err)
}
