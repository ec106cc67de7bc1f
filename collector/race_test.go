//go:build race

package collector_test

// The scrape loops of upstream read their pool's configuration while a reload
// that changes this pool replaces it, which the race detector reports. So under
// it nothing is scraped in the middle of such a change; make test runs the
// reloads without it as well.
const changedEvery = "1h"
