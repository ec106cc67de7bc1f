package anomaly

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// snapshotVersion changes whenever the fields of state do.
const snapshotVersion = 4

// Snapshot is all that the detector knows, in at most 4 KiB. A detector of the same configuration that restores it gives
// the same judgements from there on, to the last bit.
func (d *Detector) Snapshot() []byte {
	out, err := binary.Append([]byte{snapshotVersion}, binary.LittleEndian, &d.s)
	if err != nil {
		return nil // cannot happen: every field of state has a fixed size
	}
	return out
}

// Restore replaces what the detector knows. On an error the detector is as it was.
func (d *Detector) Restore(snapshot []byte) error {
	if len(snapshot) == 0 || snapshot[0] != snapshotVersion {
		return errors.New("anomaly: a snapshot of another version")
	}
	var s state
	if n := binary.Size(&s); len(snapshot)-1 != n {
		return fmt.Errorf("anomaly: a snapshot of %d bytes, not %d", len(snapshot)-1, n)
	}
	if _, err := binary.Decode(snapshot[1:], binary.LittleEndian, &s); err != nil {
		return fmt.Errorf("anomaly: %w", err)
	}
	if !s.sound() {
		return errors.New("anomaly: a snapshot with impossible values")
	}
	d.s = s
	return nil
}

// sound is false for values that no detector arrives at and that would poison every judgement.
func (s *state) sound() bool {
	all := []float64{s.Step, s.N, s.Magnitude, s.Level, s.Long, s.Previous, s.Move, s.Moves, s.Drift, s.Habit, s.Silence, s.Alert.Expected, s.Alert.Off, s.Alert.Ended, s.Frozen}
	all = append(all, s.Plain[:]...)
	all = append(all, s.Errors[:]...)
	all = append(all, s.Season[:]...)
	for i := range s.Arms {
		a := &s.Arms[i]
		all = append(all, a.Size, a.Tail.From, a.Tail.N, a.Tail.Mean, a.Tail.Square, a.Tail.Remembers)
		all = append(all, a.Clock[:]...)
	}
	for _, v := range all {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return s.N >= 0 && s.Last >= s.Start
}
