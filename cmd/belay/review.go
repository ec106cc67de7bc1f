package main

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

// reviewCommand shows post-incident reviews.
func reviewCommand(env *environment) *cobra.Command {
	g := newGroup(env, "review", "List and show post-incident reviews")
	g.Example = "  belay review list\n  belay review show i-7k2m > review.md"
	g.add("list", "List reviews, newest first", "  belay review list", cobra.NoArgs,
		func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var list struct{ Reviews []belay.Review }
			raw, err := c.get(cmd.Context(), "/reviews", &list)
			if err != nil {
				return nil, "", err
			}
			t := newTable("INCIDENT", "STATE", "FILES")
			for _, r := range list.Reviews {
				t.add(r.Incident, r.State, strings.Join(r.Files, ", "))
			}
			return raw, t.String(), nil
		})
	g.add("show INCIDENT", "Print the review of an incident, as Markdown", "  belay review show i-7k2m", cobra.ExactArgs(1),
		func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			var r web.ReviewText
			raw, err := c.get(cmd.Context(), "/reviews/"+url.PathEscape(args[0]), &r)
			if err != nil {
				return nil, "", err
			}
			return raw, markdown(r.Markdown), nil
		})
	return g.Command
}

// markdown returns a document without the control characters that a terminal
// would obey. Lines stay as they are.
func markdown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || (unicode.IsControl(r) && r != '\n' && r != '\t') {
			return -1
		}
		return r
	}, text)
}
