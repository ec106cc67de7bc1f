package slack

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/peers"
)

// pictured are the states that docs/slack.md shows; the name of each is that of
// its golden file.
var pictured = []string{"firing", "countdown", "awaiting", "refused", "rolling_back", "recovered", "not_recovered"}

func TestEachStateIsDrawnWholeAndPicturedInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/slack.md")
	if err != nil {
		t.Fatal(err)
	}
	tab := peers.StartChromium(t)
	for _, name := range pictured {
		server := slacktest.New(slacktest.Options{Token: "xoxb-test", Channels: []string{"checkout-oncall"}, Visitor: "U1", Now: func() time.Time { return fired }})
		web := httptest.NewServer(server)
		t.Cleanup(web.Close)
		post(t, web.URL, filepath.Join("testdata", name+".json"))
		err := chromedp.Do(tab, chromedp.EmulateViewport(760, 900), chromedp.Navigate(web.URL), chromedp.WaitVisible(chromedp.CSS("article")))
		if err != nil {
			t.Fatal(err)
		}
		wide, err := chromedp.Run(tab, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > 760"))
		if err != nil || wide {
			t.Errorf("%s is wider than its page: %v", name, err)
		}
		picture, err := chromedp.Run(tab, chromedp.Screenshot(chromedp.CSS("article")))
		if err != nil {
			t.Fatal(err)
		}
		file := "slack-" + strings.ReplaceAll(name, "_", "-") + ".png"
		if *update {
			if err := os.WriteFile(filepath.Join("../../docs/images", file), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(filepath.Join("../../docs/images", file)); err != nil || !strings.Contains(string(page), "images/"+file) {
			t.Errorf("docs/slack.md does not show %s (draw it with -update): %v", file, err)
		}
	}
}

// post puts the blocks of a golden file into the channel.
func post(t *testing.T, slack, golden string) {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Text   string          `json:"text"`
		Blocks json.RawMessage `json:"blocks"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"token": {"xoxb-test"}, "channel": {"#checkout-oncall"}, "text": {m.Text}, "blocks": {string(m.Blocks)}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, slack+"/api/chat.postMessage", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || !answer.OK {
		t.Fatalf("%s: %v %s", golden, err, answer.Error)
	}
}
