package slack

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack/slacktest"
)

// picture is as much of a PNG as a server looks at.
var picture = append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...)

var fileID = regexp.MustCompile(`"slack_file":\{"id":"(F[A-Z0-9]+)"\}`)

func TestAReplyShowsItsPicture(t *testing.T) {
	drawn := func(context.Context) ([]byte, error) { return picture, nil }
	for _, c := range []struct {
		what   string
		draw   func(context.Context) ([]byte, error)
		faults slacktest.Faults
		shown  bool
	}{
		{"a picture", drawn, slacktest.Faults{}, true},
		{"nothing to draw", func(context.Context) ([]byte, error) { return nil, errors.New("no samples") }, slacktest.Faults{}, false},
		{"a picture beyond all bounds", func(context.Context) ([]byte, error) { return make([]byte, maxPicture+1), nil }, slacktest.Faults{}, false},
		{"a Slack that refuses picture blocks", drawn, slacktest.Faults{RejectBlocks: []string{"image"}}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			server := slacktest.New(slacktest.Options{})
			server.SetFaults(c.faults)
			n, err := New(alerting.Slack{APIURL: "http://slack.test/api", BotToken: "xoxb-test"},
				alerting.SlackChannel{Channel: channel}, Options{HTTPClient: &http.Client{Transport: direct{server}}})
			if err != nil {
				t.Fatal(err)
			}
			parent, err := n.Notify(t.Context(), firing())
			if err != nil {
				t.Fatal(err)
			}
			m := reply(parent, belay.KindPlanned, "1.42.0 began 70 s before the damage")
			m.Picture = c.draw
			if _, err := n.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			all := server.Messages(channel)
			got := all[len(all)-1]
			if got.Key() != m.Key || !strings.Contains(string(got.Blocks), "1.42.0 began") {
				t.Errorf("the reply is %s", got.Blocks)
			}
			id := fileID.FindStringSubmatch(string(got.Blocks))
			if (id != nil) != c.shown {
				t.Fatalf("shown %v, want %v: %s", id != nil, c.shown, got.Blocks)
			}
			if content, ok := server.File(firstOf(id)); c.shown && (!ok || !bytes.Equal(content, picture)) {
				t.Errorf("the file is not what was drawn")
			}
		})
	}
}

func firstOf(match []string) string {
	if len(match) < 2 {
		return ""
	}
	return match[1]
}
