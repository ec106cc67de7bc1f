package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/belaydev/belay/rollback/command/releases"
)

// A commandPlatform is a folder of releases and a supervisor that keeps the
// current one running.
type commandPlatform struct {
	site
	service *releases.Service
	stop    context.CancelFunc
	log     *os.File
}

// Start puts both versions of the shop where its platform keeps releases, makes
// the good one current, and supervises it.
func (p *commandPlatform) Start(ctx context.Context) (wiring, error) {
	var err error
	if p.service, err = releases.Open(p.Dir.file(releasesDir), serviceName); err != nil {
		return wiring{}, err
	}
	if err := os.Symlink(filepath.Join(releasesDir, serviceName, platformLog), p.Dir.file(platformLog)); err != nil {
		return wiring{}, err
	}
	for _, v := range []struct {
		version string
		fault   Fault
	}{{goodVersion, FaultNone}, {nextVersion, p.Fault}} {
		if err := p.add(v.version, v.fault); err != nil {
			return wiring{}, err
		}
	}
	if err := p.Release(ctx, goodVersion); err != nil {
		return wiring{}, err
	}
	if p.log, err = os.OpenFile(p.Dir.file(shopLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return wiring{}, err
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.Keep("supervisor", func() error {
		defer func() { _ = p.log.Close() }()
		return releases.Supervisor{
			Dir: p.Dir.file(releasesDir), Service: serviceName, Stdout: p.log, Stderr: p.log, Logger: p.Diary.With("by", "supervisor"),
		}.Run(ctx)
	})
	return p.wiring()
}

func (p *commandPlatform) add(version string, fault Fault) error {
	source, err := os.MkdirTemp(p.Dir.Path, ".build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(source) }()
	manifest, err := json.MarshalIndent(releases.Manifest{
		Version: version,
		Argv:    []string{p.Binary, "demo", "shop", "--listen", p.Shop, "--version", version, "--fault", string(fault)},
		Health:  "http://" + p.Shop + "/healthz",
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(source, releases.ManifestFile), append(manifest, '\n')); err != nil {
		return err
	}
	_, err = p.service.Add(version, source)
	return err
}

// Release makes a version current, as a person would.
func (p *commandPlatform) Release(_ context.Context, version string) error {
	_, err := p.service.Deploy(version)
	return err
}

// Changes reads the log of the releases.
func (p *commandPlatform) Changes() ([]releases.Change, error) {
	if p.service == nil {
		return nil, errors.New("there are no releases yet")
	}
	return releases.ReadLog(p.service.LogFile())
}

// Stop ends the supervisor, which ends the shop.
func (p *commandPlatform) Stop(context.Context) error {
	if p.stop != nil {
		p.stop()
	}
	return nil
}

func (p *commandPlatform) wiring() (wiring, error) {
	var scrape, platform bytes.Buffer
	values := map[string]any{
		"Shop": p.Shop, "Service": serviceName, "Binary": p.Binary, "Releases": p.Dir.file(releasesDir), "T": p.Tempo,
	}
	err := errors.Join(commandScrape.Execute(&scrape, values), commandText.Execute(&platform, values))
	return wiring{
		Scrape: scrape.String(), Platform: platform.String(), Unfenced: true,
		Instances: func() []string { return []string{p.Shop} },
	}, err
}

var commandScrape = parse("scrape", `  - job_name: shop
    static_configs:
      - targets: ["<<.Shop>>"]
        labels: {service: <<.Service>>}`)

var commandText = parse("platform", `      command:
        state: [<<q .Binary>>, releases, --dir, <<q .Releases>>, state, <<.Service>>]
        revisions: [<<q .Binary>>, releases, --dir, <<q .Releases>>, list, <<.Service>>]
        restore: [<<q .Binary>>, releases, --dir, <<q .Releases>>, activate, <<.Service>>]
        timeout: 15s
        poll: <<d .T.Poll>>`)
