// Command imgcrypt is a stream processor as containerd starts one, around imgcrypt's own library: its payload, its choice of
// media types, and its decryption. imgcrypt's own command lies in a module that has no versions, so it can't be had by name.
package main

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/imgcrypt/v2"
	"github.com/containerd/imgcrypt/v2/images/encryption"
	"github.com/containerd/typeurl/v2"
	"github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/utils"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func main() {
	keys := flag.String("decryption-keys-path", "", "folder with keys; every file in it is one")
	flag.Parse()
	if err := decrypt(*keys); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func decrypt(folder string) error {
	payload, err := read(os.NewFile(3, "payload"))
	if err != nil {
		return err
	}
	keys := config.CryptoConfig{DecryptConfig: &payload.DecryptConfig}
	if folder != "" {
		own, err := readFolder(folder)
		if err != nil {
			return fmt.Errorf("keys: %w", err)
		}
		keys = config.CombineCryptoConfigs([]config.CryptoConfig{own, keys})
	}
	_, plain, _, err := encryption.DecryptLayer(keys.DecryptConfig, os.Stdin, payload.Descriptor, false)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, plain)
	return err
}

// read is what containerd sends: imgcrypt's payload in protobuf's Any.
func read(from io.Reader) (*imgcrypt.Payload, error) {
	content, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	var sent anypb.Any
	if err := proto.Unmarshal(content, &sent); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	value, err := typeurl.UnmarshalAny(&sent)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	payload, ok := value.(*imgcrypt.Payload)
	if !ok {
		return nil, errors.New("payload: of another type")
	}
	return payload, nil
}

// readFolder sorts keys and certificates as ocicrypt does for every tool.
func readFolder(folder string) (config.CryptoConfig, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files = append(files, base64.StdEncoding.EncodeToString(content))
		return err
	})
	if err != nil {
		return config.CryptoConfig{}, err
	}
	sorted, err := utils.SortDecryptionKeys(strings.Join(files, ","))
	return config.InitDecryption(sorted), err
}
