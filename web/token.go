package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TokenName is the name that the file of the admin token must have.
const TokenName = "belay.token"

const tokenPrefix = "belay_"

// isToken reports whether s has the form of a token: belay_ and 64 hex digits.
func isToken(s string) bool {
	digits, ok := strings.CutPrefix(s, tokenPrefix)
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// LoadOrCreateToken reads the admin token from a file, or makes one and writes
// it there when there is no file. The file is readable by its owner alone;
// LoadOrCreateToken refuses one that is not.
func LoadOrCreateToken(path string) (string, error) {
	token, err := readToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	token = tokenPrefix + hex.EncodeToString(secret)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("making a place for the token: %w", err)
	}
	// Written whole under another name first: a crash leaves no half a token,
	// and of two that start at once one wins and both use its token.
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+TokenName+"-*") // mode 0600, O_EXCL
	if err != nil {
		return "", fmt.Errorf("writing the token: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(token + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return "", fmt.Errorf("writing the token: %w", err)
	}
	if err := os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return readToken(path)
	} else if err != nil {
		return "", fmt.Errorf("writing the token: %w", err)
	}
	return token, nil
}

// Proof shows that its maker knows the token, without telling it: what status
// answers to a nonce. A client sends the token only to a server that proves it,
// since anyone on a host may listen on the port of a Belay that is down.
func Proof(token, nonce string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("belay status " + nonce)) // a hash returns no error
	return hex.EncodeToString(mac.Sum(nil))
}

// ReadToken reads an admin token that a server on this host named. It trusts
// the name of the file no further than it must: the file has to be called
// belay.token, be a regular file of the present user with mode 0600, and hold
// a token and nothing else. So a server cannot make a client send it some
// other secret.
func ReadToken(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Base(path) != TokenName {
		return "", fmt.Errorf("token file %q: want an absolute path to a file named %s", path, TokenName)
	}
	return readToken(path)
}

func readToken(path string) (string, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("token file %s: not a regular file", path)
	}
	if info.Mode().Perm() != 0o600 {
		return "", fmt.Errorf("token file %s: mode is %04o, want 0600: only its owner may read it", path, info.Mode().Perm())
	}
	if !ownedByUser(info) {
		return "", fmt.Errorf("token file %s: belongs to another user", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	token := strings.TrimSuffix(string(text), "\n")
	if !isToken(token) {
		return "", fmt.Errorf("token file %s: does not hold a token of Belay", path)
	}
	return token, nil
}
