package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/belaydev/belay/strict"
)

// A Token is one entry of tokens_file: what a program or person may do who
// shows the token with that hash.
type Token struct {
	Name   string  `yaml:"name"`   // shown as who did it
	SHA256 string  `yaml:"sha256"` // of the token, in hexadecimal; the token itself is kept nowhere
	Scopes []Scope `yaml:"scopes"`

	sum digest
}

// A Person is one entry of people: one identity over Slack, web and command
// line.
type Person struct {
	Name        string   `yaml:"name"`         // by which approvals and the journal know them
	Slack       string   `yaml:"slack"`        // the id of the Slack user, such as U123
	Groups      []string `yaml:"groups"`       // named as @group where groups may stand
	TokenSHA256 string   `yaml:"token_sha256"` // of the person's token; none: cannot sign in
	sum         digest
}

// Bounds of what a file may hold.
const (
	maxTokensFile = 1 << 20
	maxTokens     = 1000
	maxName       = 100
)

// readBounded reads a regular file that is no larger than the limit.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", file, limit)
	}
	return text, err
}

type tokensFile struct {
	Tokens []Token `yaml:"tokens"`
}

// ParseTokens reads the text of a tokens_file; file names it in problems.
func ParseTokens(file string, text []byte) ([]Token, strict.Problems) {
	doc, ps := strict.Parse(file, text)
	if len(ps) > 0 {
		return nil, ps
	}
	var all tokensFile
	if ps := doc.Decode(&all); len(ps) > 0 {
		return nil, ps
	}
	if len(all.Tokens) > maxTokens {
		return nil, strict.Problems{doc.At(fmt.Sprintf("%d tokens", len(all.Tokens)), fmt.Sprintf("up to %d", maxTokens), "tokens")}
	}
	names, sums := map[string]bool{}, map[digest]bool{}
	for i := range all.Tokens {
		t := &all.Tokens[i]
		say := func(what, allowed string, key ...any) {
			ps = append(ps, doc.At(what, allowed, append([]any{"tokens", i}, key...)...))
		}
		if why := badName(t.Name); why != "" {
			say(why, nameAllowed, "name")
		} else if t.Name == "admin" {
			say(`the name "admin" belongs to the token beside the journal`, "another name", "name")
		} else if names[t.Name] {
			say(fmt.Sprintf("a second token is named %q", t.Name), "a name of its own for each token", "name")
		}
		names[t.Name] = true
		var ok bool
		if t.sum, ok = parseSum(t.SHA256); !ok {
			say("sha256 is not the SHA-256 of a token", sumAllowed, "sha256")
		} else if t.sum == sha256.Sum256(nil) {
			say("this is the SHA-256 of an empty token", sumAllowed, "sha256")
		} else if sums[t.sum] {
			say("a second entry for the same token", "one entry for each token", "sha256")
		}
		sums[t.sum] = true
		if len(t.Scopes) == 0 {
			say("a token without a scope is good for nothing", scopesAllowed(), "scopes")
		}
		for j, s := range t.Scopes {
			if !slices.Contains(Scopes(), s) {
				say(fmt.Sprintf("unknown scope %q", s), scopesAllowed(), "scopes", j)
			}
		}
	}
	return all.Tokens, ps
}

const (
	nameAllowed = "1 to 100 characters, without control characters"
	sumAllowed  = "64 hexadecimal digits, as sha256sum prints for the token without a newline"
)

func scopesAllowed() string {
	var names []string
	for _, s := range Scopes() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// badName says what is wrong with a name, nothing when it is good.
func badName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "the name is missing"
	case len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) }):
		return "the name is not one"
	}
	return ""
}

func parseSum(text string) (sum digest, ok bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(sum) {
		return sum, false
	}
	return digest(raw), true
}

// readPeople reads the section people of a configuration.
func readPeople(doc *strict.Doc) ([]Person, strict.Problems) {
	var people []Person
	ps := doc.Decode(&people, "people")
	names, sums, slacks := map[string]bool{}, map[digest]bool{}, map[string]bool{}
	for i := range people {
		p := &people[i]
		say := func(what, allowed, key string) { ps = append(ps, doc.At(what, allowed, "people", i, key)) }
		if why := badName(p.Name); why != "" {
			say(why, nameAllowed, "name")
		} else if names[p.Name] || p.Name == "admin" {
			say(fmt.Sprintf("the name %q is taken", p.Name), "a name of their own for each person", "name")
		}
		names[p.Name] = true
		if p.Slack != "" && slacks[p.Slack] {
			say(fmt.Sprintf("a second person is %s in Slack", p.Slack), "one person for each user of Slack", "slack")
		}
		slacks[p.Slack] = true
		if p.TokenSHA256 == "" {
			continue
		}
		var ok bool
		if p.sum, ok = parseSum(p.TokenSHA256); !ok {
			say("token_sha256 is not the SHA-256 of a token", sumAllowed, "token_sha256")
		} else if p.sum == sha256.Sum256(nil) {
			say("this is the SHA-256 of an empty token", sumAllowed, "token_sha256")
		} else if sums[p.sum] {
			say("two people have the same token", "a token of their own for each person", "token_sha256")
		}
		sums[p.sum] = true
	}
	return people, ps
}
