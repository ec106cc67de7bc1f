// Command kubernetes builds the programs of a real Kubernetes control plane into
// the user's cache folder, once, and prints where they are. Tests and the demo
// find them there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/belaydev/belay/peers/plane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	programs, err := plane.Build(ctx, func(dir string) {
		fmt.Fprintf(os.Stderr, "kubernetes: building into %s: about ten minutes of one CPU, once\n", dir)
	})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubernetes:", err)
		os.Exit(1)
	}
	for _, path := range []string{programs.Etcd, programs.APIServer, programs.ControllerManager, programs.Kubectl} {
		fmt.Println(path)
	}
}
