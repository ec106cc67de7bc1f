package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// startShop runs a version of the shop until the test ends and returns its URL
// and the channel on which its end is told.
func startShop(t *testing.T, addr, version string, fault Fault) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Shop(ctx, ShopOptions{Listen: addr, Version: version, Fault: fault}) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, _, err := get(t, "http://"+addr+"/healthz"); err == nil {
			return stop
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("shop %s does not answer on %s", version, addr)
	return nil
}

func get(t *testing.T, url string) (code int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func mustAddress(t *testing.T) string {
	t.Helper()
	p, err := claimAny(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p.Addr
}

func TestTheFaultyVersionFailsOneRequestInTwelve(t *testing.T) {
	for _, tc := range []struct {
		fault Fault
		want  int
	}{{FaultErrors, 10}, {FaultNone, 0}} {
		t.Run(string(tc.fault), func(t *testing.T) {
			t.Parallel()
			addr := mustAddress(t)
			startShop(t, addr, "1.42.0", tc.fault)
			if code, _, err := get(t, "http://"+addr+"/checkout?cart=0"); code != 200 || err != nil {
				t.Errorf("at first it should do well: %d, %v", code, err)
			}
			time.Sleep(failAfter + 100*time.Millisecond)
			failed := 0
			for cart := range 120 {
				code, _, err := get(t, "http://"+addr+"/checkout?cart="+itoa(cart))
				if err != nil {
					t.Fatal(err)
				}
				if code == 500 {
					failed++
				}
			}
			if failed != tc.want {
				t.Errorf("%d of 120 requests failed, want %d", failed, tc.want)
			}
			_, metrics, err := get(t, "http://"+addr+"/metrics")
			if err != nil {
				t.Fatal(err)
			}
			want := `http_requests_total{code="500",path="/checkout",version="1.42.0"} ` + itoa(tc.want)
			if !strings.Contains(metrics, want) {
				t.Errorf("/metrics lacks %s", want)
			}
		})
	}
}

func TestWhatAFaultAddsToAnOrder(t *testing.T) {
	for fault, want := range map[Fault]time.Duration{FaultErrors: 0, FaultCrash: 0, FaultNone: 0, FaultLatency: slowness, FaultLeak: 100 * leaked} {
		s := newShop(ShopOptions{Version: "1.42.0", Fault: fault})
		s.broken.Store(true)
		var last time.Duration
		for range 100 {
			last = s.delay()
		}
		if last != want {
			t.Errorf("%s: the hundredth order takes %s longer, want %s", fault, last, want)
		}
	}
	if d := newShop(ShopOptions{Fault: FaultLatency}).delay(); d != 0 {
		t.Errorf("it is slow at once: %s", d)
	}
}

func TestTheShopSaysWhatItMeasures(t *testing.T) {
	addr := mustAddress(t)
	startShop(t, addr, "1.41.3", FaultNone)
	if code, _, _ := get(t, "http://"+addr+"/checkout?cart=abc"); code != 400 {
		t.Errorf("a cart that is no number is answered with %d, want 400", code)
	}
	_, metrics, err := get(t, "http://"+addr+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`http_requests_total{code="500",path="/checkout",version="1.41.3"} 0`, // born at zero
		`http_request_duration_seconds_bucket{path="/checkout",version="1.41.3",le="+Inf"} 1`,
		`shop_build_info{version="1.41.3"} 1`,
		"process_start_time_seconds ",
		"go_goroutines ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestTheCrashingVersionLivesUntilItsFirstRequestAndASecondMore(t *testing.T) {
	t.Parallel()
	addr := mustAddress(t)
	ended := make(chan error, 1)
	go func() {
		ended <- Shop(t.Context(), ShopOptions{Listen: addr, Version: "1.42.0", Fault: FaultCrash})
	}()
	var asked time.Time
	for {
		if code, _, err := get(t, "http://"+addr+"/checkout?cart=1"); err == nil && code == 200 {
			asked = time.Now()
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("it ended with %v, want ErrCrashed", err)
		}
		if lived := time.Since(asked); lived < crashAfter/2 {
			t.Errorf("it lived for %s after its first request", lived)
		}
	case <-time.After(time.Minute):
		t.Error("it does not crash")
	}
}

func TestTheNextVersionWaitsForTheAddress(t *testing.T) {
	t.Parallel()
	addr := mustAddress(t)
	stop := startShop(t, addr, "1.41.3", FaultNone)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Shop(ctx, ShopOptions{Listen: addr, Version: "1.42.0", Fault: FaultNone}) }()
	time.Sleep(50 * time.Millisecond) // it now tries in vain
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, metrics, err := get(t, "http://"+addr+"/metrics"); err == nil {
			if !strings.Contains(metrics, `shop_build_info{version="1.42.0"} 1`) {
				t.Error("the old version still answers")
			}
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the next version gave up: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it did not stop cleanly: %v", err)
	}
}
