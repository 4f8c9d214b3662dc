// Command judge-hpke opens what others sealed, and seals for others to open, with Go's crypto/hpke.
package main

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"bailiwick.dev/interop/internal/verdict"
)

// Question is one operation; all bytes are hexadecimal.
type Question struct {
	// Op is `open`, `seal` or `public` (the public key of a private one).
	Op string `json:"op"`
	// Suite is `xwing-hkdfsha256-aes256gcm` or `x25519-hkdfsha256-aes256gcm`.
	Suite      string `json:"suite"`
	PrivateKey Bytes  `json:"private_key,omitempty"`
	PublicKey  Bytes  `json:"public_key,omitempty"`
	Info       Bytes  `json:"info,omitempty"`
	AAD        Bytes  `json:"aad,omitempty"`
	Enc        Bytes  `json:"enc,omitempty"`
	CT         Bytes  `json:"ct,omitempty"`
	Plaintext  Bytes  `json:"plaintext,omitempty"`
}

// Answer holds what the operation made.
type Answer struct {
	PublicKey Bytes  `json:"public_key,omitempty"`
	Enc       Bytes  `json:"enc,omitempty"`
	CT        Bytes  `json:"ct,omitempty"`
	Plaintext *Bytes `json:"plaintext,omitempty"`
}

func main() { verdict.Main(judge) }

func judge(question Question) (*Answer, error) {
	kem, err := kemOf(question.Suite)
	if err != nil {
		return nil, err
	}
	switch question.Op {
	case "open":
		return open(kem, question)
	case "seal":
		return seal(kem, question)
	case "public":
		key, err := kem.NewPrivateKey(question.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		return &Answer{PublicKey: key.PublicKey().Bytes()}, nil
	default:
		return nil, fmt.Errorf("unknown op %q", question.Op)
	}
}

func open(kem hpke.KEM, question Question) (*Answer, error) {
	key, err := kem.NewPrivateKey(question.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	recipient, err := hpke.NewRecipient(question.Enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), question.Info)
	if err != nil {
		return nil, fmt.Errorf("enc: %w", err)
	}
	opened, err := recipient.Open(question.AAD, question.CT)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	plaintext := Bytes(opened)
	return &Answer{Plaintext: &plaintext}, nil
}

func seal(kem hpke.KEM, question Question) (*Answer, error) {
	key, err := kem.NewPublicKey(question.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	enc, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), question.Info)
	if err != nil {
		return nil, err
	}
	sealed, err := sender.Seal(question.AAD, question.Plaintext)
	if err != nil {
		return nil, err
	}
	return &Answer{Enc: enc, CT: sealed}, nil
}

func kemOf(suite string) (hpke.KEM, error) {
	switch suite {
	case "xwing-hkdfsha256-aes256gcm":
		return hpke.MLKEM768X25519(), nil
	case "x25519-hkdfsha256-aes256gcm":
		return hpke.DHKEM(ecdh.X25519()), nil
	default:
		return nil, fmt.Errorf("unknown suite %q", suite)
	}
}

// Bytes are written as hexadecimal.
type Bytes []byte

// MarshalJSON writes hexadecimal.
func (bytes Bytes) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(bytes)) }

// UnmarshalJSON reads hexadecimal.
func (bytes *Bytes) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(text)
	*bytes = decoded
	return err
}
