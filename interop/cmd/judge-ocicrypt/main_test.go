package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

func TestDecryptsWhatItEncryptedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	layer := bytes.Repeat([]byte("layer"), 100_000)
	write := func(name string, content []byte) string {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	write("layer", layer)
	ours, theirs := keyPair(t, write, "ours"), keyPair(t, write, "theirs")

	const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	encrypted, err := judge(Question{Op: "encrypt", Layer: path("layer"), Output: path("enc"), MediaType: mediaType, Recipients: []string{ours.public}})
	if err != nil {
		t.Fatal(err)
	}
	question := Question{Op: "decrypt", Layer: path("enc"), Output: path("dec"), MediaType: mediaType + "+encrypted", Keys: []string{ours.private}, Annotations: encrypted.Annotations}
	answer, err := judge(question)
	if err != nil {
		t.Fatal(err)
	}
	if _, shown := answer.PrivateOptions["symkey"]; shown || answer.PrivateOptions["digest"] == nil {
		t.Fatalf("private options: %v", answer.PrivateOptions)
	}
	if decrypted, err := os.ReadFile(path("dec")); err != nil || !bytes.Equal(decrypted, layer) {
		t.Fatalf("the layer did not come back: %v", err)
	}

	other := question
	other.Keys = []string{theirs.private}
	if _, err := judge(other); err == nil {
		t.Fatal("decrypted with a stranger's key")
	}
	content, _ := os.ReadFile(path("enc"))
	content[1000] ^= 1
	write("enc", content)
	if _, err := judge(question); err == nil {
		t.Fatal("decrypted a changed layer")
	}
}

type pair struct{ private, public string }

func keyPair(t *testing.T, write func(string, []byte) string, name string) pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		write(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}
}
