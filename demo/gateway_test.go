package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTheGatewayHidesTheMomentInWhichVersionsChangeHands(t *testing.T) {
	t.Parallel()
	addr := mustAddress(t)
	gateway := httptest.NewServer(newGateway(one(addr)))
	defer gateway.Close()
	answered := make(chan int)
	go func() {
		code, _, _ := get(t, gateway.URL+"/checkout?cart=1")
		answered <- code
	}()
	time.Sleep(patience / 8) // the gateway has found nobody by now, or will soon
	startShop(t, addr, goodVersion, FaultNone)
	if code := <-answered; code != http.StatusOK {
		t.Errorf("answered with %d although the shop came in time", code)
	}
}

func TestTheGatewayCountsWhatNobodyAnswered(t *testing.T) {
	t.Parallel()
	gateway := httptest.NewServer(newGateway(one(mustAddress(t))))
	defer gateway.Close()
	start := time.Now()
	code, _, err := get(t, gateway.URL+"/checkout?cart=1")
	if err != nil || code != http.StatusBadGateway {
		t.Errorf("answered with %d, %v; want 502", code, err)
	}
	if waited := time.Since(start); waited < patience-50*time.Millisecond {
		t.Errorf("it gave up after %s, before its patience of %s was over", waited, patience)
	}
	_, metrics, err := get(t, gateway.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`gateway_requests_total{code="502"} 1`, `gateway_requests_total{code="500"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s:\n%s", want, metrics)
		}
	}
}

func one(addr string) func() []string { return func() []string { return []string{addr} } }

func TestTheGatewayGoesToAnotherInstanceWhenOneIsGone(t *testing.T) {
	t.Parallel()
	gone, there := mustAddress(t), mustAddress(t)
	startShop(t, there, goodVersion, FaultNone)
	gateway := httptest.NewServer(newGateway(func() []string { return []string{gone, there} }))
	defer gateway.Close()
	for range 4 {
		start := time.Now()
		if code, _, err := get(t, gateway.URL+"/checkout?cart=1"); err != nil || code != http.StatusOK {
			t.Fatalf("answered with %d, %v", code, err)
		}
		if waited := time.Since(start); waited > patience {
			t.Errorf("it took %s to find the other instance", waited)
		}
	}
}
