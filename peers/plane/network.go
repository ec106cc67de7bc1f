package plane

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// A network gives each pod an address of its own, which it never gives again.
// Where it begins is left to chance, so that several planes on one machine keep
// out of each other's way.
type network struct {
	mu   sync.Mutex
	last int // the lower three bytes of 127.0.0.0/8
}

func newNetwork() *network { return &network{last: 16<<16 + rand.IntN(200<<16)} }

func (n *network) next() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	if n.last&0xff == 0 || n.last&0xff == 0xff {
		n.last += 2 // addresses that people take for a network or for everybody in it
	}
	return fmt.Sprintf("127.%d.%d.%d", n.last>>16&0xff, n.last>>8&0xff, n.last&0xff)
}
