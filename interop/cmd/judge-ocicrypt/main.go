// Command judge-ocicrypt encrypts and decrypts image layers with Go's ocicrypt.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"bailiwick.dev/interop/internal/verdict"
	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Question is one layer to encrypt or to decrypt.
type Question struct {
	// Op is `encrypt` or `decrypt`.
	Op string `json:"op"`
	// Layer is the file to read and Output the one to write.
	Layer  string `json:"layer"`
	Output string `json:"output"`
	// MediaType of the layer's descriptor.
	MediaType string `json:"media_type,omitempty"`
	// Recipients are files with public keys (PEM, DER or JWK), to encrypt for.
	Recipients []string `json:"recipients,omitempty"`
	// Keys are files with private keys, to decrypt with.
	Keys []string `json:"keys,omitempty"`
	// Certificates are files with certificates: of the recipients instead of public keys, or of the private keys.
	Certificates []string `json:"certificates,omitempty"`
	// Providers are `NAME[:ARGUMENTS]` of key providers, instead of keys, in either operation. They are configured
	// by `OCICRYPT_KEYPROVIDER_CONFIG`, as for every user of ocicrypt.
	Providers []string `json:"providers,omitempty"`
	// GpgRing is a file with public keys, or with secret keys to decrypt with, as GnuPG exports them.
	GpgRing string `json:"gpg_ring,omitempty"`
	// GpgRecipients are e-mail addresses or names in the ring, to encrypt for.
	GpgRecipients []string `json:"gpg_recipients,omitempty"`
	// GpgPassword of the secret keys.
	GpgPassword string `json:"gpg_password,omitempty"`
	// Annotations of the encrypted layer's descriptor.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Answer describes the file that was written.
type Answer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Annotations to put on the encrypted layer's descriptor.
	Annotations map[string]string `json:"annotations,omitempty"`
	// PrivateOptions are those of the key packet that opened, without the layer key.
	PrivateOptions map[string]json.RawMessage `json:"private_options,omitempty"`
}

func main() { verdict.Main(judge) }

func judge(question Question) (*Answer, error) {
	layer, err := os.Open(question.Layer)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	descriptor, err := describe(layer, question)
	if err != nil {
		return nil, err
	}
	switch question.Op {
	case "encrypt":
		return encrypt(layer, descriptor, question)
	case "decrypt":
		return decrypt(layer, descriptor, question)
	default:
		return nil, fmt.Errorf("unknown op %q", question.Op)
	}
}

func encrypt(layer io.Reader, descriptor ocispec.Descriptor, question Question) (*Answer, error) {
	crypto, err := recipients(question)
	if err != nil {
		return nil, err
	}
	reader, finish, err := ocicrypt.EncryptLayer(crypto.EncryptConfig, layer, descriptor)
	if err != nil {
		return nil, err
	}
	answer, err := write(reader, question.Output)
	if err != nil {
		return nil, err
	}
	answer.Annotations, err = finish()
	return answer, err
}

func decrypt(layer io.Reader, descriptor ocispec.Descriptor, question Question) (*Answer, error) {
	crypto, scheme, err := keys(question)
	if err != nil {
		return nil, err
	}
	options, err := unwrap(crypto.DecryptConfig, scheme, question.Annotations)
	if err != nil {
		return nil, err
	}
	// The digest that DecryptLayer returns is always empty: the cipher drops it.
	reader, _, err := ocicrypt.DecryptLayer(crypto.DecryptConfig, layer, descriptor, false)
	if err != nil {
		return nil, err
	}
	answer, err := write(reader, question.Output)
	if err != nil {
		return nil, err
	}
	var recorded digest.Digest
	if err := json.Unmarshal(options["digest"], &recorded); err != nil {
		return nil, fmt.Errorf("digest of the key packet: %w", err)
	}
	if recorded != answer.Digest {
		return nil, fmt.Errorf("layer is %s, its packet says %q", answer.Digest, recorded)
	}
	delete(options, "symkey")
	answer.PrivateOptions = options
	return answer, nil
}

// recipients are all that the question names, of every scheme.
func recipients(question Question) (config.CryptoConfig, error) {
	var all []config.CryptoConfig
	var failed error
	add := func(crypto config.CryptoConfig, err error) {
		all, failed = append(all, crypto), errors.Join(failed, err)
	}
	if len(question.Providers) > 0 {
		add(config.EncryptWithKeyProvider(named(question.Providers)))
	}
	if question.GpgRing != "" {
		ring, err := os.ReadFile(question.GpgRing)
		failed = errors.Join(failed, err)
		add(config.EncryptWithGpg(named(question.GpgRecipients), ring))
	}
	if len(question.Certificates) > 0 {
		certificates, err := readAll(question.Certificates)
		failed = errors.Join(failed, err)
		add(config.EncryptWithPkcs7(certificates))
	}
	if len(question.Recipients) > 0 {
		keys, err := readAll(question.Recipients)
		failed = errors.Join(failed, err)
		add(config.EncryptWithJwe(keys))
	}
	if len(all) == 0 {
		return config.CryptoConfig{}, errors.New("no recipients")
	}
	return config.CombineCryptoConfigs(all), failed
}

// keys are what opens the layer, and the scheme of the packets that they are for.
func keys(question Question) (config.CryptoConfig, string, error) {
	if len(question.Providers) > 0 {
		name, _, _ := strings.Cut(question.Providers[0], ":")
		crypto, err := config.DecryptWithKeyProvider(named(question.Providers))
		return crypto, "provider." + name, err
	}
	if question.GpgRing != "" {
		ring, err := os.ReadFile(question.GpgRing)
		if err != nil {
			return config.CryptoConfig{}, "", err
		}
		crypto, err := config.DecryptWithGpgPrivKeys([][]byte{ring}, [][]byte{[]byte(question.GpgPassword)})
		return crypto, "pgp", err
	}
	keys, err := readAll(question.Keys)
	if err != nil {
		return config.CryptoConfig{}, "", err
	}
	crypto, err := config.DecryptWithPrivKeys(keys, make([][]byte, len(keys)))
	if err != nil || len(question.Certificates) == 0 {
		return crypto, "jwe", err
	}
	certificates, err := readAll(question.Certificates)
	if err != nil {
		return config.CryptoConfig{}, "", err
	}
	named, err := config.DecryptWithX509s(certificates)
	return config.CombineCryptoConfigs([]config.CryptoConfig{crypto, named}), "pkcs7", err
}

func named(providers []string) [][]byte {
	names := make([][]byte, len(providers))
	for i, name := range providers {
		names[i] = []byte(name)
	}
	return names
}

// unwrap opens the first key packet that the keys fit.
func unwrap(keys *config.DecryptConfig, scheme string, annotations map[string]string) (map[string]json.RawMessage, error) {
	wrapper := ocicrypt.GetKeyWrapper(scheme)
	if wrapper == nil {
		return nil, fmt.Errorf("nothing is known of %q", scheme)
	}
	failed := errors.New("no key packet")
	for packet := range strings.SplitSeq(annotations[wrapper.GetAnnotationID()], ",") {
		content, err := base64.StdEncoding.DecodeString(packet)
		if err != nil {
			return nil, fmt.Errorf("key packet: %w", err)
		}
		opened, err := wrapper.UnwrapKey(keys, content)
		if err != nil {
			failed = err
			continue
		}
		var options map[string]json.RawMessage
		err = json.Unmarshal(opened, &options)
		return options, err
	}
	return nil, failed
}

func describe(layer io.ReadSeeker, question Question) (ocispec.Descriptor, error) {
	sum, err := digest.SHA256.FromReader(layer)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	_, err = layer.Seek(0, io.SeekStart)
	return ocispec.Descriptor{
		MediaType: question.MediaType, Digest: sum, Size: size, Annotations: question.Annotations,
	}, err
}

func write(reader io.Reader, path string) (*Answer, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(file, hash), reader)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &Answer{Digest: digest.NewDigest(digest.SHA256, hash), Size: size}, nil
}

func readAll(paths []string) ([][]byte, error) {
	if len(paths) == 0 {
		return nil, errors.New("no keys")
	}
	contents := make([][]byte, len(paths))
	for i, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		contents[i] = content
	}
	return contents, nil
}
