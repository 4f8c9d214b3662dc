// Command bench-ocicrypt times Go's ocicrypt on one layer in memory: a line `encrypt` or `decrypt` in, nanoseconds out; to
// `version` it names itself.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/containers/ocicrypt/blockcipher"
)

func main() {
	if err := serve(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func serve(arguments []string, questions io.Reader, answers io.Writer) error {
	if len(arguments) != 1 {
		return fmt.Errorf("the layer's size in bytes is wanted")
	}
	size, err := strconv.Atoi(arguments[0])
	if err != nil || size < 1 {
		return fmt.Errorf("`%s` is no size", arguments[0])
	}
	contest, err := newContest(size)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(questions)
	for lines.Scan() {
		if lines.Text() == "version" {
			fmt.Fprintln(answers, version())
			continue
		}
		took, err := contest.run(lines.Text())
		if err != nil {
			return err
		}
		fmt.Fprintln(answers, took.Nanoseconds())
	}
	return lines.Err()
}

// version is that of the module that was built in.
func version() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, module := range info.Deps {
			if module.Path == "github.com/containers/ocicrypt" {
				return "Go ocicrypt " + module.Version
			}
		}
	}
	return "Go ocicrypt"
}

type contest struct {
	plain, sealed []byte
	digest        [sha256.Size]byte
	options       blockcipher.LayerBlockCipherOptions
}

func newContest(size int) (*contest, error) {
	c := &contest{plain: make([]byte, size)}
	if _, err := rand.Read(c.plain); err != nil {
		return nil, err
	}
	c.digest = sha256.Sum256(c.plain)
	var sealed bytes.Buffer
	sealed.Grow(size)
	options, err := encrypt(c.plain, &sealed)
	if err != nil {
		return nil, err
	}
	c.sealed, c.options = sealed.Bytes(), options
	return c, nil
}

// run does one of both, and digests the result as whoever writes a layer must.
func (c *contest) run(operation string) (time.Duration, error) {
	began := time.Now()
	digest := sha256.New()
	switch operation {
	case "encrypt":
		if _, err := encrypt(c.plain, digest); err != nil {
			return 0, err
		}
		return time.Since(began), nil
	case "decrypt":
		if err := decrypt(c.sealed, c.options, digest); err != nil {
			return 0, err
		}
		took := time.Since(began)
		if !bytes.Equal(digest.Sum(nil), c.digest[:]) {
			return 0, fmt.Errorf("the layer did not come back")
		}
		return took, nil
	default:
		return 0, fmt.Errorf("`%s` is neither encrypt nor decrypt", operation)
	}
}

func encrypt(plain []byte, to io.Writer) (blockcipher.LayerBlockCipherOptions, error) {
	var options blockcipher.LayerBlockCipherOptions
	handler, err := blockcipher.NewLayerBlockCipherHandler()
	if err != nil {
		return options, err
	}
	reader, finish, err := handler.Encrypt(bytes.NewReader(plain), blockcipher.AES256CTR)
	if err != nil {
		return options, err
	}
	if _, err := io.CopyBuffer(onlyWriter{to}, reader, make([]byte, pieceLen)); err != nil {
		return options, err
	}
	return finish()
}

func decrypt(sealed []byte, options blockcipher.LayerBlockCipherOptions, to io.Writer) error {
	handler, err := blockcipher.NewLayerBlockCipherHandler()
	if err != nil {
		return err
	}
	reader, _, err := handler.Decrypt(bytes.NewReader(sealed), options)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{to}, reader, make([]byte, pieceLen))
	return err
}

// onlyWriter keeps the copy from choosing a buffer of its own.
type onlyWriter struct{ io.Writer }

// pieceLen is what callers of ocicrypt read at once; ours uses the same.
const pieceLen = 256 * 1024
