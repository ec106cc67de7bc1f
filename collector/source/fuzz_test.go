package source_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay/collector/source"
)

// FuzzAnswer lets a source answer anything: it is a result or an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"a"},"value":[1,"2"]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"NaN"],[2,"+Inf"]]}]}}`))
	f.Add([]byte(`{"status":"success","data":[{"__name__":"a"}]}`))
	f.Add([]byte(`<html>502 Bad Gateway</html>`))
	var answer atomic.Pointer[[]byte]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*answer.Load()) }))
	f.Cleanup(server.Close)
	s := open(f, server.URL, source.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		answer.Store(&body)
		if v, err := s.Query(t.Context(), "a", time.Unix(10, 0)); err != nil && v != nil {
			t.Errorf("both a result and an error: %v, %v", v, err)
		}
		q, err := s.Querier(0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, hint := range []string{"", "series"} {
			set := q.Select(t.Context(), true, &storage.SelectHints{End: 10_000, Func: hint}, labels.MustNewMatcher(labels.MatchEqual, "__name__", "a"))
			for set.Next() {
				it := set.At().Iterator(nil)
				for range 1000 {
					if it.Next() == 0 {
						break
					}
				}
			}
		}
		_, _, _ = q.LabelValues(t.Context(), "a", nil)
	})
}
