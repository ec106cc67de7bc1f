package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/belaydev/belay/alerting/slack/slacktest"
)

// sceneOptions say what a scene is made of. All are required except Dir,
// Listen and Platform.
type sceneOptions struct {
	Dir      string // "" makes a new one
	Listen   string // of Belay's pages; "" chooses
	Binary   string // this program
	Platform string // "" is PlatformCommand
	Fault    Fault
	Tempo    tempo
	Rate     int // requests a second
}

// A scene is everything that one incident needs: a directory, the shop on
// its platform, load on it, a Slack, and Belay as a child process. Belay can
// be killed and started again; the rest stays until Close.
type scene struct {
	sceneOptions
	dir   *directory
	at    addresses
	diary *slog.Logger
	slack *slacktest.Server
	load  *load
	belay *child
	api   *client

	platform platform
	wiring   wiring // once it was started

	released           time.Time // when the last release by a person began
	slackAt, gatewayAt net.Listener
	claims             []place
	logs               []*os.File
	stop               context.CancelFunc
	stopLoad           func()
	running            sync.WaitGroup
	failed             chan error // of what must run as long as the scene
}

// newScene prepares everything and starts nothing. The directory stays locked
// until Close.
func newScene(ctx context.Context, opts sceneOptions) (*scene, error) {
	s := &scene{sceneOptions: opts, failed: make(chan error, 4)}
	if err := s.prepare(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *scene) prepare(ctx context.Context) (err error) {
	if err := s.chooseAddresses(ctx); err != nil {
		return err
	}
	if s.dir, err = prepareDirectory(s.Dir); err != nil {
		return err
	}
	var diary *os.File
	if s.diary, diary, err = openDiary(s.dir.file(demoLog)); err != nil {
		return err
	}
	s.logs = append(s.logs, diary)
	s.slack = slacktest.New(slacktest.Options{
		Token: slackToken, AppToken: slackAppToken, Visitor: slackVisitor, Channels: []string{channelName},
		OnChange: func() {
			if err := s.slack.WriteJSON(s.dir.file(slackFile)); err != nil {
				s.diary.Error("slack.json not written", "error", err)
			}
		},
	})
	s.load = newLoad("http://"+s.at.Gateway, s.Rate)
	s.load.notify = func(stint int, what string, at time.Time) {
		s.diary.Info(what, "seen_at", at, "version", s.load.stint(stint).Version, "stint", stint)
	}
	s.platform, err = newPlatform(s.Platform, site{
		Dir: s.dir, Binary: s.Binary, Fault: s.Fault, Tempo: s.Tempo, Shop: s.at.Shop, Diary: s.diary, Keep: s.keep, TakesUp: s.load.takesUp,
	})
	if err != nil {
		return err
	}
	s.belay = &child{binary: s.Binary, config: s.dir.file(configFile), log: s.dir.file(belayLog)}
	s.api = newClient(s.at.Belay)
	return nil
}

// chooseAddresses takes the places of Slack and gateway at once. Those of shop
// and Belay, which come and go, are claimed.
func (s *scene) chooseAddresses(ctx context.Context) error {
	pages, err := claimPages(ctx, s.Listen)
	if err != nil {
		return err
	}
	s.claims = append(s.claims, pages)
	shop, err := claimAny(ctx)
	if err != nil {
		return err
	}
	s.claims = append(s.claims, shop)
	if s.slackAt, err = listen(ctx); err != nil {
		return err
	}
	if s.gatewayAt, err = listen(ctx); err != nil {
		return err
	}
	s.at = addresses{Shop: shop.Addr, Gateway: s.gatewayAt.Addr().String(), Belay: pages.Addr, Slack: s.slackAt.Addr().String()}
	return nil
}

func listen(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// Release makes a version current, as a person would.
func (s *scene) Release(ctx context.Context, version string) error {
	at := time.Now()
	if err := s.platform.Release(ctx, version); err != nil {
		return err
	}
	s.released = at
	s.diary.Info("deployed", "version", version, "by", "a person", "seen_at", at)
	return nil
}

// Start starts the shop, the load, Slack and Belay. They run until Close.
func (s *scene) Start(ctx context.Context) error {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if s.wiring, err = s.platform.Start(ctx); err != nil {
		return err
	}
	if err := writeConfig(s.dir, s.Fault, s.Tempo, s.at, s.wiring); err != nil {
		return err
	}
	s.keep("slack", func() error { return s.slack.Serve(ctx, s.slackAt) })
	s.keep("gateway", func() error { return serve(ctx, s.gatewayAt, newGateway(s.wiring.Instances)) })
	s.startLoad(ctx)
	if err := s.slack.WriteJSON(s.dir.file(slackFile)); err != nil {
		return err
	}
	return s.StartBelay(ctx)
}

// startLoad starts the load, and makes stopLoad end it and wait for its last
// answer: what happens while the shop is closed is no finding.
func (s *scene) startLoad(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { s.load.Run(ctx) })
	s.stopLoad = func() { cancel(); done.Wait() }
}

// serve answers on a listener until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// keep runs what must run as long as the scene.
func (s *scene) keep(name string, run func() error) {
	s.running.Go(func() {
		if err := run(); err != nil {
			s.failed <- fmt.Errorf("%s: %w", name, err)
		}
	})
}

// StartBelay starts Belay, which must not run.
func (s *scene) StartBelay(ctx context.Context) error {
	err := s.belay.Start(ctx)
	s.diary.Info("belay started", "pid", s.belay.PID(), "error", errText(err))
	return err
}

// KillBelay ends Belay with SIGKILL.
func (s *scene) KillBelay() {
	at, pid := time.Now(), s.belay.PID()
	s.belay.Kill()
	s.diary.Info("belay killed", "pid", pid, "seen_at", at)
}

// Close ends every process of the scene and writes the last files. It returns an error when Belay did not stop cleanly.
func (s *scene) Close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if s.stopLoad != nil {
		s.stopLoad()
	}
	err := s.belay.Stop(ctx)
	s.diary.Info("belay stopped", "error", errText(err))
	err = errors.Join(err, s.platform.Stop(ctx))
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	for i, stint := range s.load.Stints() {
		s.diary.Info("stint", "number", i, "seen", stint)
	}
	err = errors.Join(err, s.slack.WriteJSON(s.dir.file(slackFile)))
	s.release()
	return err
}

// release gives back what newScene took.
func (s *scene) release() {
	for _, l := range []net.Listener{s.slackAt, s.gatewayAt} {
		if l != nil {
			_ = l.Close() // by its server, usually
		}
	}
	for _, p := range s.claims {
		_ = p.Close()
	}
	for _, f := range s.logs {
		_ = f.Close()
	}
	if s.dir != nil {
		s.dir.release()
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
