// Command judge-pkcs11 encrypts, decrypts and wraps again with Go's ocicrypt and keys in hardware modules. It loads modules, so
// it needs cgo, which the other judges do without. Which modules it may load stands where ocicrypt looks: OCICRYPT_CONFIG.
package main

import (
	"fmt"
	"io"
	"os"

	"bailiwick.dev/interop/internal/verdict"
	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/config/pkcs11config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Question is one layer to encrypt or to decrypt, or one whose key is to be wrapped for more recipients.
type Question struct {
	// Op is `encrypt`, `decrypt` or `rewrap`.
	Op string `json:"op"`
	// Layer is the file to read and Output the one to write; `rewrap` writes none.
	Layer  string `json:"layer"`
	Output string `json:"output,omitempty"`
	// MediaType of the layer's descriptor.
	MediaType string `json:"media_type"`
	// PublicKeys and Yamls are files with recipients; JwePublicKeys are some of another scheme.
	PublicKeys    []string `json:"public_keys,omitempty"`
	Yamls         []string `json:"yamls,omitempty"`
	JwePublicKeys []string `json:"jwe_public_keys,omitempty"`
	// Keys are key files of tokens to decrypt with.
	Keys []string `json:"keys,omitempty"`
	// Annotations of the encrypted layer's descriptor.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Answer describes what was written.
type Answer struct {
	Digest      digest.Digest     `json:"digest,omitempty"`
	Size        int64             `json:"size,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func main() { verdict.Main(judge) }

func judge(question Question) (*Answer, error) {
	layer, err := os.Open(question.Layer)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	sum, err := digest.SHA256.FromReader(layer)
	if err != nil {
		return nil, err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	descriptor := ocispec.Descriptor{
		MediaType: question.MediaType, Digest: sum, Size: size, Annotations: question.Annotations,
	}
	encrypting, decrypting, err := configs(question)
	if err != nil {
		return nil, err
	}
	switch question.Op {
	case "encrypt", "rewrap":
		encrypting.DecryptConfig = *decrypting
		reader, finish, err := ocicrypt.EncryptLayer(encrypting, layer, descriptor)
		if err != nil {
			return nil, err
		}
		answer := &Answer{}
		if question.Op == "encrypt" {
			if answer, err = write(reader, question.Output); err != nil {
				return nil, err
			}
		}
		answer.Annotations, err = finish()
		return answer, err
	case "decrypt":
		reader, _, err := ocicrypt.DecryptLayer(decrypting, layer, descriptor, false)
		if err != nil {
			return nil, err
		}
		return write(reader, question.Output)
	default:
		return nil, fmt.Errorf("unknown op %q", question.Op)
	}
}

// configs are the recipients and the keys that the question names.
func configs(question Question) (*config.EncryptConfig, *config.DecryptConfig, error) {
	policy, err := pkcs11config.GetUserPkcs11Config()
	if err != nil {
		return nil, nil, err
	}
	var files [4][][]byte
	for i, names := range [][]string{question.PublicKeys, question.Yamls, question.Keys, question.JwePublicKeys} {
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			files[i] = append(files[i], content)
		}
	}
	tokens, err := config.EncryptWithPkcs11(policy, files[0], files[1])
	if err != nil {
		return nil, nil, err
	}
	keys, err := config.DecryptWithPkcs11Yaml(policy, files[2])
	if err != nil {
		return nil, nil, err
	}
	all := []config.CryptoConfig{tokens, keys}
	if len(files[3]) > 0 {
		others, err := config.EncryptWithJwe(files[3])
		if err != nil {
			return nil, nil, err
		}
		all = append(all, others)
	}
	combined := config.CombineCryptoConfigs(all)
	return combined.EncryptConfig, combined.DecryptConfig, nil
}

func write(reader io.Reader, path string) (*Answer, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	digester := digest.SHA256.Digester()
	size, err := io.Copy(io.MultiWriter(file, digester.Hash()), reader)
	if err != nil {
		return nil, err
	}
	return &Answer{Digest: digester.Digest(), Size: size}, file.Close()
}
