// Command shop is the demo's shop for containers: a supervisor that keeps the
// current release running, and customers who buy from it. It is a release
// directory, a shop and a load in one program, so that its image needs nothing
// else.
//
//	shop run                   supervise, in a process of its own, and buy
//	shop release VERSION       1.41.3 is well; 1.42.0 fails one request in twelve
//	shop serve --version …     one version; the supervisor starts it
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/belaydev/belay/demo"
	"github.com/belaydev/belay/rollback/command/releases"
)

const service = "checkout"

// versions are what can be released, the first of which runs at first.
var versions = []struct {
	name  string
	fault demo.Fault
}{{"1.41.3", demo.FaultNone}, {"1.42.0", demo.FaultErrors}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want run, release or serve")
	}
	flags := flag.NewFlagSet("shop "+args[0], flag.ContinueOnError)
	dir := flags.String("releases", "/releases", "`folder` of the releases")
	listen := flags.String("listen", "127.0.0.1:8080", "`address` of the shop")
	version := flags.String("version", versions[0].name, "what it calls itself")
	fault := flags.String("fault", string(demo.FaultNone), "what is wrong with it")
	rate := flags.Int("rate", 30, "customers a second")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "run":
		go shopping(ctx, "http://"+*listen, *rate)
		return child(ctx, "supervise", "--releases", *dir, "--listen", *listen)
	case "supervise":
		return supervise(ctx, *dir, *listen)
	case "release":
		return release(*dir, flags.Arg(0))
	case "serve":
		f, err := demo.ParseFault(*fault)
		if err != nil {
			return err
		}
		return demo.Shop(ctx, demo.ShopOptions{Listen: *listen, Version: *version, Fault: f, Out: os.Stdout})
	}
	return fmt.Errorf("%q: want run, release or serve", args[0])
}

// child runs this program with other arguments until ctx ends: in a container
// this process is number 1, which the command platform does not take for a
// supervisor.
func child(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 8 * time.Second
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// supervise keeps the current release running until ctx ends.
func supervise(ctx context.Context, dir, listen string) error {
	s, err := releases.Open(dir, service)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := add(s, v.name, v.fault, listen); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(s.Path("current")); errors.Is(err, os.ErrNotExist) {
		if _, err := s.Deploy(versions[0].name); err != nil {
			return err
		}
	}
	return releases.Supervisor{
		Dir: dir, Service: service, Stdout: os.Stdout, Stderr: os.Stderr, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}.Run(ctx)
}

// add puts a release into the folder, which already has it after a restart.
func add(s *releases.Service, version string, fault demo.Fault, listen string) error {
	source, err := os.MkdirTemp(filepath.Dir(s.Path()), ".build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(source) }()
	// Belay sees this folder from another container, and wants to see that what
	// it restores can be run: so a release brings its program along.
	if err := copySelf(filepath.Join(source, "shop")); err != nil {
		return err
	}
	manifest, err := json.Marshal(releases.Manifest{
		Version: version,
		Argv:    []string{"./shop", "serve", "--listen", listen, "--version", version, "--fault", string(fault)},
		Health:  "http://" + listen + "/healthz",
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(source, releases.ManifestFile), manifest, 0o644); err != nil {
		return err
	}
	_, err = s.Add(version, source)
	return err
}

func copySelf(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

func release(dir, version string) error {
	s, err := releases.Open(dir, service)
	if err != nil {
		return err
	}
	_, err = s.Deploy(version)
	return err
}

// shopping sends rate requests a second until ctx ends, whatever the answers.
func shopping(ctx context.Context, url string, rate int) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	tick := time.NewTicker(time.Second / time.Duration(max(rate, 1)))
	defer tick.Stop()
	for cart := 1; ; cart++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		go buy(ctx, client, fmt.Sprintf("%s/checkout?cart=%d", url, cart))
	}
}

func buy(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	res, err := client.Do(req)
	if err != nil {
		return // the shop counts what it answers; customers count nothing
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}
