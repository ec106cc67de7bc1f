package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

// deployCommand tells Belay of deployments, from any pipeline.
func deployCommand(env *environment) *cobra.Command {
	g := newGroup(env, "deploy", "Tell Belay of a deployment")
	g.Long = `Tell Belay of a deployment, from any pipeline. What really runs Belay reads from
the platform; this adds who, which commit, and when it began.`
	g.Example = "  belay deploy start --service checkout --revision sha256:4f9c --version v1.4.2\n  belay deploy finish --service checkout --revision sha256:4f9c"
	g.deployPhase("start", "Say that a deployment begins")
	g.deployPhase("finish", "Say that a deployment has ended well")
	g.deployPhase("fail", "Say that a deployment has failed")
	return g.Command
}

func (g *group) deployPhase(event, short string) {
	var b web.DeployBody
	example := fmt.Sprintf("  belay deploy %s --service checkout --revision sha256:4f9c --version v1.4.2 \\\n    --commit 1f0c9e2 --actor ada --url https://ci.example.org/42", event)
	cmd := g.add(event+" [SERVICE]", short, example, cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
		switch {
		case len(args) == 1 && b.Service != "":
			return nil, "", usage("name the service once: as %q or as --service %q", args[0], b.Service)
		case len(args) == 1:
			b.Service = args[0]
		}
		if b.Service == "" || b.Revision == "" {
			return nil, "", usage("--service and --revision must be given")
		}
		b.Event, b.Actor = event, actorOf(g.env, b.Actor)
		raw, err := c.post(cmd.Context(), "/deployments", b, nil)
		name := b.Version
		if name == "" {
			name = belay.Content(b.Revision).Short()
		}
		return raw, told(err, "%s of %s: noted", event, plain(name)), err
	})
	f := cmd.Flags()
	f.StringVar(&b.Service, "service", "", "the service: environment/name, or a name of production")
	f.StringVar(&b.Revision, "revision", "", "what is deployed: a hash of the content, or its version")
	f.StringVar(&b.Version, "version", "", "what people call it")
	f.StringVar(&b.Commit, "commit", "", "the commit that it was built from")
	f.StringVar(&b.Actor, "actor", "", "who deploys (default $USER)")
	f.StringVar(&b.URL, "url", "", "where the pipeline can be looked at")
	f.BoolVar(&b.Irreversible, "irreversible", false, "it cannot be taken back, such as after a migration of data")
}

// told returns a line that says what was done, nothing after an error.
func told(err error, format string, args ...any) string {
	if err != nil {
		return ""
	}
	return fmt.Sprintf(format, args...) + "\n"
}
