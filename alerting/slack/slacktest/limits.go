package slacktest

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf16"
)

// Slack's limits, in characters unless they count things. A character is
// counted as a UTF-16 unit, which is never less than any other way to count.
const (
	maxBlocks      = 50
	maxSection     = 3000
	maxFields      = 10
	maxField       = 2000
	maxHeader      = 150
	maxContext     = 10 // elements
	maxActions     = 25 // elements
	maxButtonText  = 75
	maxButtonValue = 2000

	maxConfirmTitle  = 100
	maxConfirmText   = 300
	maxConfirmButton = 30

	maxURL       = 3000
	maxID        = 255 // block_id and action_id
	maxAltText   = 2000
	maxText      = 4000  // Slack cuts a post at 40 000 and refuses an edit at 4 000; here both are refused
	maxAllBlocks = 11000 // undocumented; messages beyond this were refused in practice
	maxMetadata  = 16384 // bytes
)

// A block is as much of a Block Kit block as is checked and shown.
type block struct {
	Type     string     `json:"type"`
	BlockID  string     `json:"block_id"`
	Text     *textObj   `json:"text"`
	Fields   []*textObj `json:"fields"`
	Elements []element  `json:"elements"`
	ImageURL string     `json:"image_url"`
	AltText  string     `json:"alt_text"`

	SlackFile *struct {
		ID string `json:"id"`
	} `json:"slack_file"`
}

type textObj struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Verbatim bool   `json:"verbatim"`
}

// An element is a text or an image of a context block, or a button. Its text
// is a string in the one and a text object in the other.
type element struct {
	Type     string          `json:"type"`
	RawText  json.RawMessage `json:"text"`
	Verbatim bool            `json:"verbatim"`
	ActionID string          `json:"action_id"`
	Value    string          `json:"value"`
	URL      string          `json:"url"`
	Style    string          `json:"style"`
	ImageURL string          `json:"image_url"`
	AltText  string          `json:"alt_text"`
	Confirm  *question       `json:"confirm"`
}

// A question asks once more before a button counts.
type question struct {
	Title   *textObj `json:"title"`
	Text    *textObj `json:"text"`
	Confirm *textObj `json:"confirm"`
	Deny    *textObj `json:"deny"`
}

func (c *question) valid() bool {
	return c == nil || c.Title.within(maxConfirmTitle) && c.Text.within(maxConfirmText) && c.Confirm.within(maxConfirmButton) && c.Deny.within(maxConfirmButton)
}

// text returns the element's text, whichever form it has, or nil.
func (e element) text() *textObj {
	var t textObj
	if json.Unmarshal(e.RawText, &t) == nil {
		return &t
	}
	if json.Unmarshal(e.RawText, &t.Text) == nil {
		t.Type, t.Verbatim = e.Type, e.Verbatim
		return &t
	}
	return nil
}

func length(s string) int { return len(utf16.Encode([]rune(s))) }

// checkText returns the error code for a message's text and blocks, "" when
// they are within all limits.
func checkText(text string, blocks []block) string {
	if text == "" && len(blocks) == 0 {
		return "no_text"
	}
	if length(text) > maxText {
		return "msg_too_long"
	}
	if len(blocks) > maxBlocks {
		return "invalid_blocks"
	}
	seen, total := map[string]bool{}, 0
	for _, b := range blocks {
		if !b.valid() || b.BlockID != "" && seen[b.BlockID] {
			return "invalid_blocks"
		}
		seen[b.BlockID] = true
		for _, t := range b.texts() {
			total += length(t.Text)
		}
	}
	if total > maxAllBlocks {
		return "msg_blocks_too_long"
	}
	return ""
}

// parseBlocks reads the blocks argument; ok is false when it is not a list.
func parseBlocks(raw string) (blocks []block, ok bool) {
	if raw == "" {
		return nil, true
	}
	return blocks, json.Unmarshal([]byte(raw), &blocks) == nil
}

func (b block) valid() bool {
	if length(b.BlockID) > maxID {
		return false
	}
	switch b.Type {
	case "divider":
		return true
	case "header":
		return b.Text.within(maxHeader) && b.Text.Type == "plain_text"
	case "section":
		return b.validSection()
	case "context":
		return len(b.Elements) > 0 && len(b.Elements) <= maxContext &&
			!slices.ContainsFunc(b.Elements, func(e element) bool { return !e.validInContext() })
	case "actions":
		return len(b.Elements) > 0 && len(b.Elements) <= maxActions &&
			!slices.ContainsFunc(b.Elements, func(e element) bool { return !e.validButton() })
	case "image":
		if b.SlackFile != nil {
			return b.ImageURL == "" && b.AltText != "" && length(b.AltText) <= maxAltText
		}
		return validImage(b.ImageURL, b.AltText)
	}
	return false
}

func (b block) validSection() bool {
	if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > maxFields {
		return false
	}
	if b.Text != nil && !b.Text.within(maxSection) {
		return false
	}
	return !slices.ContainsFunc(b.Fields, func(t *textObj) bool { return !t.within(maxField) })
}

// within says that a text object is there, not empty and not too long.
func (t *textObj) within(limit int) bool {
	return t != nil && t.Text != "" && length(t.Text) <= limit && (t.Type == "mrkdwn" || t.Type == "plain_text")
}

func (e element) validInContext() bool {
	if e.Type == "image" {
		return validImage(e.ImageURL, e.AltText)
	}
	return e.text().within(maxSection)
}

func (e element) validButton() bool {
	t := e.text()
	return e.Type == "button" && t.within(maxButtonText) && t.Type == "plain_text" &&
		(e.Style == "" || e.Style == "primary" || e.Style == "danger") && e.Confirm.valid() &&
		length(e.ActionID) <= maxID && length(e.Value) <= maxButtonValue && length(e.URL) <= maxURL
}

func validImage(url, alt string) bool {
	return strings.HasPrefix(url, "http") && length(url) <= maxURL && alt != "" && length(alt) <= maxAltText
}

// texts returns every text object of a block.
func (b block) texts() []textObj {
	var out []textObj
	for _, t := range append([]*textObj{b.Text}, b.Fields...) {
		if t != nil {
			out = append(out, *t)
		}
	}
	for _, e := range b.Elements {
		if t := e.text(); t != nil {
			out = append(out, *t)
		}
	}
	return out
}
