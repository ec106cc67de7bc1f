package demo

import (
	"log/slog"
	"os"
)

// openDiary opens the demo's own log: one JSON line for everything that it did
// or saw itself, without asking Belay.
func openDiary(path string) (*slog.Logger, *os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f, nil
}
