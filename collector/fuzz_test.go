package collector_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/belaydev/belay/collector"
)

// FuzzWrite sends anything to the write receiver: it is stored or refused, and
// afterwards the receiver still takes what is good.
func FuzzWrite(f *testing.F) {
	good := snappy.Encode(nil, written(f, "good", 1))
	f.Add(good, "application/x-protobuf", "snappy", false)
	f.Add(written(f, "bare", 1), "application/x-protobuf", "", false)
	f.Add(written(f, "raw", 1), "application/x-protobuf", "snappy", true)
	f.Add([]byte("{}"), "application/json", "snappy", true)
	f.Add(written(f, "second", 1), "application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", true)
	r := run(f, mustLoad(f, filepath.Join(f.TempDir(), "belay.yml"), ""), collector.Options{})
	f.Cleanup(r.stop)
	h := remote.NewWriteHandler(slog.New(slog.DiscardHandler), nil, r.Receiver(), remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, false)
	send := func(t *testing.T, body []byte, contentType, encoding string) int {
		w := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/write", bytes.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Content-Encoding", encoding)
		h.ServeHTTP(w, req)
		return w.Code
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType, encoding string, compress bool) {
		if compress {
			body = snappy.Encode(nil, body)
		}
		if code := send(t, body, contentType, encoding); code < 200 || code >= 600 {
			t.Errorf("status %d", code)
		}
		if code := send(t, snappy.Encode(nil, written(t, "afterwards", 1)), "application/x-protobuf", "snappy"); code/100 != 2 {
			t.Errorf("afterwards what is good has status %d", code)
		}
	})
}

// written is a request of remote write with one sample, as of now.
func written(t testing.TB, name string, v float64) []byte {
	t.Helper()
	body, err := proto.Marshal(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: name}, {Name: "job", Value: "elsewhere"}},
		Samples: []prompb.Sample{{Value: v, Timestamp: time.Now().UnixMilli()}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// FuzzPushed gives the collector any memory of what was sent in: it starts, and
// what cannot be read counts as sent in rather than as its own.
func FuzzPushed(f *testing.F) {
	f.Add([]byte("1763900000000 \"sent_in\"\n"))
	f.Add([]byte("1763900000000 \"torn"))
	f.Add(bytes.Repeat([]byte("x"), 1<<20+1))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "data", "metrics"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "metrics", "pushed"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, mustLoad(t, filepath.Join(dir, "belay.yml"), ""), collector.Options{})
		_ = r.Pushed("sent_in")
		if code := push(t, r.Collector, "now", 1); code/100 == 2 && !r.Pushed("now") {
			t.Error("what is sent in now is not remembered")
		}
		r.stop()
	})
}
