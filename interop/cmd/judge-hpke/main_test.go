package main

import (
	"bytes"
	"testing"

	"crypto/hpke"
)

func TestOpensWhatItSealedAndNothingElse(t *testing.T) {
	for suite, kem := range map[string]hpke.KEM{
		"xwing-hkdfsha256-aes256gcm":  hpke.MLKEM768X25519(),
		"x25519-hkdfsha256-aes256gcm": mustKEM(t, 0x0020),
	} {
		key, err := kem.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		private, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		public, err := judge(Question{Op: "public", Suite: suite, PrivateKey: private})
		if err != nil || !bytes.Equal(public.PublicKey, key.PublicKey().Bytes()) {
			t.Fatalf("%s: public key: %v", suite, err)
		}
		sealed, err := judge(Question{Op: "seal", Suite: suite, PublicKey: public.PublicKey, Info: Bytes("i"), AAD: Bytes("a"), Plaintext: Bytes("p")})
		if err != nil {
			t.Fatal(err)
		}
		question := Question{Op: "open", Suite: suite, PrivateKey: private, Info: Bytes("i"), AAD: Bytes("a"), Enc: sealed.Enc, CT: sealed.CT}
		opened, err := judge(question)
		if err != nil || string(*opened.Plaintext) != "p" {
			t.Fatalf("%s: open: %v", suite, err)
		}
		question.AAD = Bytes("b")
		if _, err := judge(question); err == nil {
			t.Fatalf("%s: opened with other associated data", suite)
		}
	}
}

func mustKEM(t *testing.T, id uint16) hpke.KEM {
	kem, err := hpke.NewKEM(id)
	if err != nil {
		t.Fatal(err)
	}
	return kem
}
