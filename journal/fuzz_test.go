package journal_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
)

// FuzzEvent reads any row as the journal does: it is an event or an error, and
// an event is the same after it was written and read again.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"kind":"alert.changed","at":"2026-11-23T12:00:00Z","alert":{"id":"a","rule":"R","labels":{"a":"b"},"value":"NaN","state":"firing"}}`))
	f.Add([]byte(`{"kind":"rollback.planned","rollback":{"id":"r","suspects":[{"score":1e308}]}}`))
	f.Add([]byte(`{"incident":{"alerts":[{"value":"+Inf"},{"value":-0}]}}`))
	f.Fuzz(func(t *testing.T, row []byte) {
		var first, again belay.Event
		if json.Unmarshal(row, &first) != nil {
			return
		}
		text, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, text)
		}
		twice, err := json.Marshal(again)
		if diff := cmp.Diff(string(text), string(twice)); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}
