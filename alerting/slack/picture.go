package slack

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/slack-go/slack"

	"github.com/belaydev/belay/alerting"
)

// Bounds of a picture: no message waits longer for one, or carries a larger.
const (
	pictureTime = 5 * time.Second
	maxPicture  = 2 << 20 // bytes
)

// illustrate uploads the message's picture and puts it below the text. Where
// that fails the message goes out without, and the log says why.
//
// The picture is uploaded by itself and shown by a block, not shared as a file:
// so the message keeps its key, by which it is found after a crash.
func (n *Notifier) illustrate(ctx context.Context, m alerting.Message, d *drawing) {
	ctx, cancel := context.WithTimeout(ctx, pictureTime)
	defer cancel()
	png, err := m.Picture(ctx)
	if err == nil && (len(png) == 0 || len(png) > maxPicture) {
		err = errors.New("it is empty, or larger than 2 MiB")
	}
	if err != nil {
		n.log.Warn("incident cannot be drawn", "key", m.Key, "error", err)
		return
	}
	alt := plain(alerting.Summary(m), maxAlt)
	var file *slack.FileSummary
	err = n.call(ctx, "files.getUploadURLExternal", mayRepeat(true), func(ctx context.Context) (err error) {
		file, err = n.api.UploadFileContext(ctx, slack.UploadFileParameters{
			Reader: bytes.NewReader(png), FileSize: len(png), Filename: "incident.png", Title: "Incident", AltTxt: alt,
		})
		return err
	})
	if err != nil {
		n.log.Warn("picture cannot be uploaded", "key", m.Key, "error", err)
		return
	}
	d.plain = d.all
	d.all = slices.Concat(d.all, []slack.Block{slack.NewImageBlockSlackFile(&slack.SlackFileObject{ID: file.ID}, alt, "", nil)})
}
