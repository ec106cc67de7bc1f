package slacktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"
)

const room1 = "checkout-oncall"

func start(t *testing.T, opts Options) (*Server, *slack.Client, string) {
	t.Helper()
	s := New(opts)
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return s, slack.New("xoxb-test", slack.OptionAPIURL(web.URL+"/api/"), slack.OptionHTTPClient(client)), web.URL
}

func say(s string) slack.MsgOption { return slack.MsgOptionText(s, false) }

func para(s string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, s, false, true), nil, nil)
}

func must(t *testing.T) func(channel, ts string, err error) (string, string) {
	t.Helper()
	return func(channel, ts string, err error) (string, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return channel, ts
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAMessageLivesAsInSlack(t *testing.T) {
	s, api, _ := start(t, Options{Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	md := slack.SlackMetadata{EventType: "belay_message", EventPayload: map[string]any{"key": "i-1"}}
	id, ts := must(t)(api.PostMessage("#"+room1, say("one"), slack.MsgOptionBlocks(para("*one*")), slack.MsgOptionMetadata(md)))
	_, again := must(t)(api.PostMessage(id, say("one"), slack.MsgOptionBlocks(para("*one*")), slack.MsgOptionMetadata(md)))
	if again <= ts {
		t.Errorf("the second ts %s is not later than the first %s", again, ts)
	}
	if got := len(s.Parents()); got != 2 {
		t.Fatalf("the same message twice gives %d messages, want 2: nothing is de-duplicated", got)
	}

	if _, _, _, err := api.UpdateMessage(id, ts, say("two"), slack.MsgOptionBlocks(para("*two*"))); err != nil {
		t.Fatal(err)
	}
	m := s.Messages(room1)[0]
	if m.Text != "two" || !strings.Contains(string(m.Blocks), "*two*") || m.Edits != 1 || m.Versions != 2 || m.Key() != "i-1" {
		t.Errorf("after an edit: %+v", m)
	}
	if _, _, _, err := api.UpdateMessage(id, ts, say("two"), slack.MsgOptionBlocks(para("*two*"))); err != nil {
		t.Fatal(err)
	}
	if m := s.Messages(id)[0]; m.Edits != 2 || m.Versions != 2 {
		t.Errorf("an edit that changes nothing: %d edits, %d versions, want 2, 2", m.Edits, m.Versions)
	}
	if _, _, _, err := api.UpdateMessage(id, ts, say("three")); err != nil {
		t.Fatal(err)
	}
	if m := s.Messages(room1)[0]; m.Blocks != nil {
		t.Errorf("an edit with text alone kept the blocks %s", m.Blocks)
	}
}

func TestThreadsHistoryAndPages(t *testing.T) {
	_, api, _ := start(t, Options{})
	id, parent := must(t)(api.PostMessage(room1, say("parent"), slack.MsgOptionMetadata(
		slack.SlackMetadata{EventType: "e", EventPayload: map[string]any{"key": "k"}})))
	_, reply := must(t)(api.PostMessage(id, say("reply 1"), slack.MsgOptionTS(parent)))
	must(t)(api.PostMessage(id, say("reply 2"), slack.MsgOptionTS(parent)))
	_, last := must(t)(api.PostMessage(id, say("last")))

	history := func(p slack.GetConversationHistoryParameters) (texts []string, next string) {
		t.Helper()
		p.ChannelID = id
		res, err := api.GetConversationHistory(&p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.Messages {
			texts = append(texts, m.Text)
		}
		return texts, res.ResponseMetaData.NextCursor
	}
	got, _ := history(slack.GetConversationHistoryParameters{})
	if diff := cmp.Diff([]string{"last", "parent"}, got); diff != "" {
		t.Errorf("history is newest first, without replies:\n%s", diff)
	}
	got, next := history(slack.GetConversationHistoryParameters{Limit: 1})
	rest, end := history(slack.GetConversationHistoryParameters{Limit: 1, Cursor: next})
	if diff := cmp.Diff([]string{"last", "parent"}, append(got, rest...)); diff != "" || end != "" {
		t.Errorf("page by page, cursor %q at the end:\n%s", end, diff)
	}
	if got, _ := history(slack.GetConversationHistoryParameters{Oldest: parent}); len(got) != 1 {
		t.Errorf("oldest is not part of the window, got %q", got)
	}
	if got, _ := history(slack.GetConversationHistoryParameters{Latest: last, Inclusive: true}); len(got) != 2 {
		t.Errorf("latest is part of an inclusive window, got %q", got)
	}

	for _, from := range []string{parent, reply} {
		msgs, _, _, err := api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: id, Timestamp: from, IncludeAllMetadata: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(msgs) != 3 || msgs[0].Text != "parent" || msgs[2].Text != "reply 2" || msgs[0].ReplyCount != 2 || msgs[0].Metadata.EventType != "e" {
			t.Errorf("a thread is its parent and its replies, oldest first; got %+v", msgs)
		}
	}
	msgs, _, _, err := api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: id, Timestamp: parent})
	if err != nil || msgs[0].Metadata.EventType != "" {
		t.Errorf("metadata that nobody asked for: %+v, %v", msgs[0].Metadata, err)
	}

	channels, _, err := api.GetConversations(&slack.GetConversationsParameters{})
	if err != nil || len(channels) != 1 || channels[0].Name != room1 || channels[0].ID != id {
		t.Errorf("channels are %v, %v", channels, err)
	}
	if who, err := api.AuthTest(); err != nil || who.BotID == "" {
		t.Errorf("auth.test says %v, %v", who, err)
	}
}

func TestWhatSlackRefusesIsRefused(t *testing.T) {
	_, api, url := start(t, Options{Token: "xoxb-test", Channels: []string{room1}})
	id, ts := must(t)(api.PostMessage(room1, say("x")))
	_, reply := must(t)(api.PostMessage(room1, say("x"), slack.MsgOptionTS(ts)))
	post := func(o ...slack.MsgOption) func() error {
		return func() error { _, _, err := api.PostMessage(id, o...); return err }
	}
	blocks := func(bs ...slack.Block) func() error { return post(say("x"), slack.MsgOptionBlocks(bs...)) }
	many := func(n int, b slack.Block) (bs []slack.Block) {
		for range n {
			bs = append(bs, b)
		}
		return bs
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	plain := func(s string) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, s, false, false)
	}
	fields := func(n, size int) slack.Block {
		var fs []*slack.TextBlockObject
		for range n {
			fs = append(fs, plain(long(size)))
		}
		return slack.NewSectionBlock(nil, fs, nil)
	}
	elements := func(n int) slack.Block {
		var es []slack.MixedElement
		for range n {
			es = append(es, plain("x"))
		}
		return slack.NewContextBlock("", es...)
	}
	button := func(label string) slack.Block {
		return slack.NewActionBlock("", slack.NewButtonBlockElement("a", "v", plain(label)))
	}
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"51 blocks":                 {blocks(many(51, slack.NewDividerBlock())...), "invalid_blocks"},
		"50 blocks":                 {blocks(many(50, slack.NewDividerBlock())...), ""},
		"a section too long":        {blocks(para(long(3001))), "invalid_blocks"},
		"a section just right":      {blocks(para(long(3000))), ""},
		"a section of emoji":        {blocks(para(strings.Repeat("🔥", 1501))), "invalid_blocks"},
		"an empty section":          {blocks(para("")), "invalid_blocks"},
		"11 fields":                 {blocks(fields(11, 1)), "invalid_blocks"},
		"10 fields":                 {blocks(fields(10, 1)), ""},
		"a field too long":          {blocks(fields(1, 2001)), "invalid_blocks"},
		"a header too long":         {blocks(slack.NewHeaderBlock(plain(long(151)))), "invalid_blocks"},
		"a header just right":       {blocks(slack.NewHeaderBlock(plain(long(150)))), ""},
		"a header with markup":      {blocks(slack.NewHeaderBlock(slack.NewTextBlockObject(slack.MarkdownType, "x", false, false))), "invalid_blocks"},
		"11 context elements":       {blocks(elements(11)), "invalid_blocks"},
		"10 context elements":       {blocks(elements(10)), ""},
		"a button":                  {blocks(button("Stop")), ""},
		"a button too long":         {blocks(button(long(76))), "invalid_blocks"},
		"all blocks too long":       {blocks(many(4, para(long(2900)))...), "msg_blocks_too_long"},
		"an unknown block":          {blocks(slack.NewFileBlock("b", "x", "remote")), "invalid_blocks"},
		"text too long":             {post(say(long(4001))), "msg_too_long"},
		"text just right":           {post(say(long(4000))), ""},
		"nothing":                   {post(), "no_text"},
		"metadata without a type":   {post(say("x"), slack.MsgOptionMetadata(slack.SlackMetadata{EventPayload: map[string]any{"a": 1}})), "invalid_metadata_schema"},
		"a thread that is not":      {post(say("x"), slack.MsgOptionTS("1.000001")), "thread_not_found"},
		"a reply to a reply":        {post(say("x"), slack.MsgOptionTS(reply)), "cannot_reply_to_message"},
		"a channel that is not":     {func() error { _, _, err := api.PostMessage("#nowhere", say("x")); return err }, "channel_not_found"},
		"an edit of nothing":        {func() error { _, _, _, err := api.UpdateMessage(id, "1.000001", say("x")); return err }, "message_not_found"},
		"an edit by a channel name": {func() error { _, _, _, err := api.UpdateMessage(room1, ts, say("x")); return err }, "channel_not_found"},
		"history by a channel name": {func() error {
			_, err := api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: room1})
			return err
		}, "channel_not_found"},
		"replies to nothing": {func() error {
			_, _, _, err := api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: id, Timestamp: "1.000001"})
			return err
		}, "thread_not_found"},
		"a method that is not here": {func() error { _, err := api.GetUserInfo("U1"); return err }, "unknown_method"},
		"another token":             {func() error { _, err := slack.New("xoxb-2", slack.OptionAPIURL(url+"/api/")).AuthTest(); return err }, "invalid_auth"},
		"no token":                  {func() error { _, err := slack.New("", slack.OptionAPIURL(url+"/api/")).AuthTest(); return err }, "not_authed"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := code(c.do()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFaultsBefallSoManyCallsAndNoMore(t *testing.T) {
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	for name, c := range map[string]struct {
		faults Faults
		as     func(error) bool
		stored int // by the call that meets the fault
	}{
		"rate limit": {Faults{RateLimit: 1, RetryAfter: 1500 * time.Millisecond}, func(err error) bool {
			return errors.As(err, &limited) && limited.RetryAfter == 2*time.Second
		}, 0},
		"server error":        {Faults{ServerError: 1}, func(err error) bool { return errors.As(err, &status) && status.Code == 503 }, 0},
		"a refusal":           {Faults{Refuse: 1, RefuseWith: "is_archived"}, func(err error) bool { return code(err) == "is_archived" }, 0},
		"accept, then fail":   {Faults{AcceptThenFail: 1}, func(err error) bool { return errors.As(err, &status) && status.Code == 500 }, 1},
		"accept, then hang":   {Faults{AcceptThenTimeout: 1}, func(err error) bool { var ne net.Error; return errors.As(err, &ne) && ne.Timeout() }, 1},
		"accept, and hang up": {Faults{AcceptThenTimeout: 1, HangUp: true}, func(err error) bool { return errors.Is(err, io.EOF) }, 1},
		"delay":               {Faults{Delay: 5 * time.Second}, func(err error) bool { var ne net.Error; return errors.As(err, &ne) && ne.Timeout() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, api, _ := start(t, Options{})
			c.faults.Methods = []string{"chat.postMessage"}
			s.SetFaults(c.faults)
			if _, err := api.AuthTest(); err != nil {
				t.Errorf("another method met the fault: %v", err)
			}
			_, _, err := api.PostMessage(room1, say("x"))
			if err == nil || !c.as(err) {
				t.Errorf("got %v (%T)", err, err)
			}
			if got := len(s.Messages(room1)); got != c.stored {
				t.Errorf("%d messages are stored, want %d", got, c.stored)
			}
			if c.faults.Delay > 0 {
				s.SetFaults(Faults{})
			}
			if _, _, err := api.PostMessage(room1, say("x")); err != nil {
				t.Errorf("the next call met the fault as well: %v; left %+v", err, s.Faults())
			}
		})
	}
}

func TestArgumentsComeAsFormQueryOrJSON(t *testing.T) {
	s, _, url := start(t, Options{})
	body := `{"channel": "#` + room1 + `", "text": "from JSON", "blocks": [{"type": "divider"}], "metadata": {"event_type": "e", "event_payload": {"key": "k"}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/chat.postMessage", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer xoxb-test")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ OK bool }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || !answer.OK {
		t.Fatalf("got %v, %v", answer, err)
	}
	m := s.Messages(room1)[0]
	if m.Text != "from JSON" || string(m.Blocks) != `[{"type": "divider"}]` || m.Key() != "k" {
		t.Errorf("got %+v", m)
	}
	for _, q := range []string{url + "/api/auth.test?token=xoxb-1"} {
		if got := get(t, q); !strings.Contains(got, `"ok":true`) {
			t.Errorf("%s says %s", q, got)
		}
	}
}

func TestAMentionIsCountedAsAPing(t *testing.T) {
	soft := slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, "see @here", false, false), nil, nil)
	for name, c := range map[string]struct {
		options []slack.MsgOption
		want    []string
	}{
		"in the text":               {[]slack.MsgOption{say("<!channel> look")}, []string{"<!channel>"}},
		"a person, in a block":      {[]slack.MsgOption{say("x"), slack.MsgOptionBlocks(para("<@U123> look"))}, []string{"<@U123>"}},
		"a group":                   {[]slack.MsgOption{say("<!subteam^S1|@sre>")}, []string{"<!subteam^S1|@sre>"}},
		"bare, where names link":    {[]slack.MsgOption{say("@here"), slack.MsgOptionLinkNames(true)}, []string{"@here"}},
		"bare, in a loose block":    {[]slack.MsgOption{say("x"), slack.MsgOptionBlocks(soft)}, []string{"@here"}},
		"bare, in a verbatim block": {[]slack.MsgOption{say("@here"), slack.MsgOptionBlocks(para("@here"))}, nil},
		"escaped":                   {[]slack.MsgOption{say("&lt;!channel&gt;")}, nil},
		"a date":                    {[]slack.MsgOption{say("<!date^1^{time}|x>")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, api, _ := start(t, Options{})
			must(t)(api.PostMessage(room1, c.options...))
			if diff := cmp.Diff(c.want, s.Messages(room1)[0].Pings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEachChangeIsWrittenDown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "slack.json")
	var s *Server
	var api *slack.Client
	s, api, _ = start(t, Options{OnChange: func() {
		if err := s.WriteJSON(file); err != nil {
			t.Error(err)
		}
	}})
	id, ts := must(t)(api.PostMessage(room1, say("one")))
	must(t)(api.PostMessage(id, say("reply"), slack.MsgOptionTS(ts)))
	if _, _, _, err := api.UpdateMessage(id, ts, say("two")); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got Snapshot
	if err := json.Unmarshal(written, &got); err != nil {
		t.Fatal(err)
	}
	for i := range got.Channels[0].Messages {
		got.Channels[0].Messages[i].Channel = id // not part of the file
	}
	if diff := cmp.Diff(s.Snapshot(), got); diff != "" {
		t.Errorf("the file differs from the state:\n%s", diff)
	}
	if m := got.Channels[0].Messages; len(m) != 2 || m[0].Text != "two" || m[0].Edits != 1 || m[1].ThreadTS != ts {
		t.Errorf("got %+v", m)
	}
	if err := s.WriteJSON(filepath.Join(t.TempDir(), "none", "x.json")); err == nil {
		t.Error("a folder that is not there was no error")
	}
}

func TestThePageShowsTheChannelAndEscapesEverything(t *testing.T) {
	s, api, url := start(t, Options{Channels: []string{room1, "quiet"}})
	if got := get(t, url+"/"); !strings.Contains(got, "No messages yet") {
		t.Error("an empty channel does not say so")
	}
	evil := `</p><script>alert(1)</script>"onload="x`
	id, ts := must(t)(api.PostMessage(room1, say("x"), slack.MsgOptionBlocks(
		slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, "🔴 head "+evil, true, false)),
		para("*bold* `a&lt;b` <https://b.example/?a=1&amp;b=2|link "+evil+"> <!date^1800000000^{time_secs}|then> "+evil),
		slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, "small "+evil, false, true)),
	)))
	must(t)(api.PostMessage(id, say("reply "+evil), slack.MsgOptionTS(ts)))
	page := get(t, url+"/")
	for _, want := range []string{
		`aria-label="red circle"`, "<strong>bold</strong>", "<code>a&lt;b</code>", `href="https://b.example/?a=1&amp;b=2"`,
		">08:00:00</time>", "1 reply", "small ", `aria-current="page"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, `"onload="`) {
		t.Errorf("the page holds what a message brought:\n%s", page)
	}
	before := get(t, url+"/version")
	if _, _, _, err := api.UpdateMessage(id, ts, say("y")); err != nil {
		t.Fatal(err)
	}
	if get(t, url+"/version") == before {
		t.Error("the version stays the same after an edit")
	}
	if got := get(t, url+"/?channel=quiet"); !strings.Contains(got, "No messages yet") {
		t.Error("another channel cannot be chosen")
	}
	for range shown + 3 {
		must(t)(api.PostMessage(room1, say("more")))
	}
	if got := get(t, url+"/?channel="+room1); !strings.Contains(got, "4 older not shown") {
		t.Error("the page does not say how much it leaves out")
	}
	if get(t, url+"/page.css") == "" || get(t, url+"/page.js") == "" || len(s.Parents()) != shown+4 {
		t.Error("an asset is missing")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, res.Status, err)
	}
	return b.String()
}

func TestServeEndsWithItsContext(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := New(Options{})
	s.SetFaults(Faults{AcceptThenTimeout: 1})
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	asked := make(chan error, 1)
	go func() { // hangs until the server goes
		_, _, err := slack.New("x", slack.OptionAPIURL("http://"+ln.Addr().String()+"/api/")).PostMessageContext(t.Context(), room1, say("x"))
		asked <- err
	}()
	for len(s.Parents()) == 0 {
		select {
		case err := <-asked:
			t.Fatalf("answered: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("the hanging call was answered")
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"*a* _b_ ~c~ `d`", "<https://x|y>", "<!date^1^{time}|z>", "<!channel>", "<@U1>", "<script>", "a<b>c", "&lt;b&gt;",
		"*`_~<", "\"'>", "<https://x\"onclick=|y>", "**", "🔴`", "<http://x|<b>>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkMarkup(t, string(render(s)))
	})
}

// checkMarkup fails when HTML holds a tag or an attribute that render does
// not write, or when the tags are not nested.
func checkMarkup(t *testing.T, out string) {
	t.Helper()
	var open []string
	for rest := out; ; {
		i := strings.IndexAny(rest, "<>\"")
		if i < 0 {
			break
		}
		end := strings.IndexByte(rest, '>')
		if rest[i] != '<' || end < i {
			t.Fatalf("%q is outside a tag in %q", rest[i:], out)
		}
		tag := rest[i+1 : end]
		rest = rest[end+1:]
		name, attributes, _ := strings.Cut(tag, " ")
		closing, isClosing := strings.CutPrefix(name, "/")
		switch {
		case name == "br":
		case isClosing:
			if len(open) == 0 || open[len(open)-1] != closing {
				t.Fatalf("</%s> closes %q in %q", closing, open, out)
			}
			open = open[:len(open)-1]
		case slices.Contains(strings.Fields("a b code em s span strong time"), name):
			open = append(open, name)
		default:
			t.Fatalf("tag %q in %q", tag, out)
		}
		for attributes != "" {
			key, value, ok := strings.Cut(attributes, `="`)
			_, after, closed := strings.Cut(value, `"`)
			if !ok || !closed || !slices.Contains(strings.Fields("aria-label class datetime href rel role target title"), key) {
				t.Fatalf("attributes %q in %q", attributes, out)
			}
			attributes = strings.TrimPrefix(after, " ")
		}
	}
	if len(open) > 0 {
		t.Fatalf("%q stay open in %q", open, out)
	}
}

func FuzzArguments(f *testing.F) {
	f.Add("application/json", `{"channel":"c","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"x"}}],"metadata":{}}`)
	f.Add("application/json", `{"channel":"c","blocks":[{"type":"context","elements":[{"type":"mrkdwn","text":"x"},null,{"text":{}}]}]}`)
	f.Add("application/x-www-form-urlencoded", "channel=c&text=x&blocks=%5B%7B%22type%22%3A%22header%22%7D%5D")
	f.Add("application/x-www-form-urlencoded", "channel=c&text=x&blocks=[null,{\"fields\":[null]}]&thread_ts=1&limit=-1")
	f.Fuzz(func(t *testing.T, kind, body string) {
		s := New(Options{})
		for _, method := range []string{"chat.postMessage", "chat.update", "conversations.history", "conversations.replies", "conversations.list"} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/"+method, strings.NewReader(body))
			req.Header.Set("Content-Type", kind)
			req.Header.Set("Authorization", "Bearer x")
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, req)
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s answers %q", method, rec.Body)
			}
		}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if rec.Code != http.StatusOK {
			t.Errorf("the page answers %d: %s", rec.Code, rec.Body)
		}
		for _, m := range s.Parents() {
			if fmt.Sprint(m.TS) == "" {
				t.Error("a message without a name")
			}
		}
	})
}
