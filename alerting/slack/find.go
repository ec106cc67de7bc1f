package slack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay/alerting"
)

// How far a search goes. A message that is not found within these pages was
// posted so long ago, in such a busy channel, that nobody would see it anyway.
const (
	pageSize     = 200
	maxPages     = 10             // of a channel's history, or a thread
	maxListPages = 25             // of the workspace's channels
	clockSkew    = 24 * time.Hour // between this host and Slack, at most
)

// eventType is the metadata's type on all of Belay's messages.
const eventType = "belay_message"

func metadata(key string) slack.SlackMetadata {
	return slack.SlackMetadata{EventType: eventType, EventPayload: map[string]any{"key": key}}
}

func carries(msg slack.Message, key string) bool {
	got, _ := msg.Metadata.EventPayload["key"].(string)
	return msg.Metadata.EventType == eventType && got == key
}

// find looks for a message by its key and returns its ref, "" when it is not
// there. Where Slack does not allow to look (a missing scope, a channel that
// the app may write to but not read), it says "" too: a message told twice
// is better than one not told.
func (n *Notifier) find(ctx context.Context, m alerting.Message) (string, error) {
	ref, err := n.search(ctx, m)
	if errors.Is(err, errRefused) {
		n.log.Warn("slack does not let the channel be searched, the message may appear twice", "key", m.Key, "error", err)
		return "", nil
	}
	return ref, err
}

func (n *Notifier) search(ctx context.Context, m alerting.Message) (string, error) {
	channel, thread, ok := splitRef(m.Thread)
	if m.Kind == alerting.Parent || !ok {
		var err error
		if channel, err = n.lookUp(ctx); err != nil {
			return "", err
		}
		thread = ""
	}
	cursor := ""
	for range maxPages {
		var page []slack.Message
		var err error
		if thread == "" {
			page, cursor, err = n.history(ctx, channel, oldest(m), cursor)
		} else {
			page, cursor, err = n.replies(ctx, channel, thread, cursor)
		}
		if err != nil {
			return "", err
		}
		for _, msg := range page {
			// A message that can no longer be edited keeps its key; its
			// successor is the one to find.
			if ref := channel + ":" + msg.Timestamp; carries(msg, m.Key) && ref != m.Ref {
				return ref, nil
			}
		}
		if cursor == "" {
			return "", nil
		}
	}
	n.log.Warn("slack message not found in the newest part of the channel", "key", m.Key, "pages", maxPages)
	return "", nil
}

// oldest is the ts before which an incident's parent cannot have been posted.
func oldest(m alerting.Message) string {
	if m.Incident.OpenedAt.IsZero() {
		return ""
	}
	return strconv.FormatInt(m.Incident.OpenedAt.Add(-clockSkew).Unix(), 10) + ".000000"
}

func (n *Notifier) history(ctx context.Context, channel, oldest, cursor string) (page []slack.Message, next string, err error) {
	err = n.call(ctx, "conversations.history", mayRepeat(true), func(ctx context.Context) error {
		res, err := n.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
			ChannelID: channel, Oldest: oldest, Cursor: cursor, Limit: pageSize, IncludeAllMetadata: true,
		})
		if err != nil {
			return err
		}
		page, next = res.Messages, res.ResponseMetaData.NextCursor
		return nil
	})
	return page, next, err
}

func (n *Notifier) replies(ctx context.Context, channel, thread, cursor string) (page []slack.Message, next string, err error) {
	err = n.call(ctx, "conversations.replies", mayRepeat(true), func(ctx context.Context) (err error) {
		page, _, next, err = n.api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
			ChannelID: channel, Timestamp: thread, Cursor: cursor, Limit: pageSize, IncludeAllMetadata: true,
		})
		return err
	})
	return page, next, err
}

// lookUp returns the channel's id, from the workspace's list where it is not
// known yet. An id is what reading needs; posting takes the name as well.
func (n *Notifier) lookUp(ctx context.Context) (string, error) {
	if a := n.address(); channelID.MatchString(a) {
		return a, nil
	}
	name := strings.TrimPrefix(n.channel.Channel, "#")
	cursor := ""
	for range maxListPages {
		var page []slack.Channel
		err := n.call(ctx, "conversations.list", mayRepeat(true), func(ctx context.Context) (err error) {
			page, cursor, err = n.api.GetConversationsContext(ctx, &slack.GetConversationsParameters{
				Cursor: cursor, Limit: pageSize, ExcludeArchived: true,
				Types: []string{"public_channel", "private_channel"},
			})
			return err
		})
		if err != nil {
			return "", err
		}
		for _, c := range page {
			if c.Name == name || c.NameNormalized == name {
				n.learn(c.ID)
				return c.ID, nil
			}
		}
		if cursor == "" {
			break
		}
	}
	return "", fmt.Errorf("%w: no channel %q in the workspace's list", errRefused, n.channel.Channel)
}
