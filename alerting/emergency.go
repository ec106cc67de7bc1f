package alerting

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

const (
	emergencyPrefix = "emergency/"
	emergencyEvery  = 5 * time.Minute
	emergencyBound  = 10 * time.Second // of one message, all attempts together
	emergencyAtOnce = 8                // messages under way to one destination; more are dropped
)

// EmergencyOptions are what an Emergency may be given.
type EmergencyOptions struct {
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// An Emergency tells every destination directly, past journal and outbox. It
// is for what cannot be journalled, above all that the journal cannot be
// written. It forgets everything when the process ends.
type Emergency struct {
	destinations []Destination
	log          *slog.Logger
	now          func() time.Time
	slots        []chan struct{} // by destination, so that a hung one takes no other's
	wg           sync.WaitGroup

	mu     sync.Mutex
	bucket map[string]int64 // by kind: the five minutes in which it was told last
}

// NewEmergency returns an Emergency that tells these destinations, whatever
// they want otherwise.
func NewEmergency(destinations []Destination, opts EmergencyOptions) *Emergency {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	e := &Emergency{destinations: destinations, log: opts.Logger, now: opts.Now, bucket: map[string]int64{}}
	for range destinations {
		e.slots = append(e.slots, make(chan struct{}, emergencyAtOnce))
	}
	return e
}

// Tell puts a sentence before people. kind is a short constant such as
// "journal"; each kind is told at most once in five minutes. Tell never blocks:
// it returns before anything is sent, and what ctx carries may end meanwhile.
func (e *Emergency) Tell(ctx context.Context, kind, text string) {
	now := e.now().UTC()
	bucket := now.Unix() / int64(emergencyEvery/time.Second)
	e.mu.Lock()
	last, told := e.bucket[kind]
	if told && last == bucket {
		e.mu.Unlock()
		return
	}
	e.bucket[kind] = bucket
	e.mu.Unlock()
	e.log.Error("emergency", "kind", kind, "text", text)

	m := emergencyMessage(kind, text, bucket, now)
	for i, d := range e.destinations {
		select {
		case e.slots[i] <- struct{}{}:
		default:
			e.log.Error("too many emergencies at once, this one is not told", "destination", d.Name, "kind", kind)
			continue
		}
		e.wg.Go(func() {
			defer func() { <-e.slots[i] }()
			e.tell(context.WithoutCancel(ctx), d, m)
		})
	}
}

// Wait returns when everything under way is told or given up, at the latest
// after ten seconds.
func (e *Emergency) Wait() { e.wg.Wait() }

func (e *Emergency) tell(ctx context.Context, d Destination, m Message) {
	ctx, cancel := context.WithTimeout(ctx, emergencyBound)
	defer cancel()
	for try := 1; ; try++ {
		_, err := d.Notifier.Notify(ctx, m)
		if err == nil || errors.Is(err, ErrUnchanged) {
			return
		}
		m.Retry = m.Retry || ambiguous(err)
		if errors.Is(err, ErrPermanent) || !pause(ctx, backoff(try, err)) {
			e.log.Error("emergency cannot be told", "destination", d.Name, "key", m.Key, "error", err)
			return
		}
	}
}

// EmergencyLabels are the labels by which a message about Belay itself is
// routed; one more, "kind", says what of it.
func EmergencyLabels() labels.Labels {
	return labels.FromStrings("alertname", "BelayEmergency", "severity", "critical")
}

// emergencyMessage makes a message that every notifier can show as it shows
// any other: an incident of Belay itself with one alert.
func emergencyMessage(kind, text string, bucket int64, now time.Time) Message {
	key := emergencyPrefix + kind + "/" + strconv.FormatInt(bucket, 10)
	service := belay.ServiceID{Environment: noEnvironment, Name: "belay"}
	i := belay.Incident{
		ID: key, Service: service, Title: "Belay itself: " + kind, Severity: "critical", State: belay.Triggered, OpenedAt: now,
		Alerts: []belay.Alert{{
			ID: key, Rule: "BelayEmergency", Incident: key, State: belay.AlertFiring,
			Labels:      labels.NewBuilder(EmergencyLabels()).Set("kind", kind).Labels(),
			Annotations: map[string]string{"summary": text},
			ActiveAt:    now, FiredAt: now, EvaluatedAt: now,
		}},
	}
	return Message{
		Kind: Parent, Key: key, At: now, Incident: i,
		Event: belay.Event{At: now, Kind: "belay.emergency", Reason: text, Service: service, Incident: &i},
	}
}
