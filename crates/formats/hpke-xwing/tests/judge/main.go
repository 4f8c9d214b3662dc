// Judge of hpke-xwing: seals and opens with Go's crypto/hpke, one request per line.
//
//	generate SUITE               -> ok PRIVATE PUBLIC
//	seal SUITE PUBLIC INFO AAD PT -> ok ENC CT
//	open SUITE PRIVATE ENC INFO AAD CT -> ok PT | refused
//
// All values are hexadecimal, an empty one is "-".
package main

import (
	"bufio"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		answer, err := judge(words)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			answer = []string{"refused"}
		}
		fmt.Println(strings.Join(answer, " "))
	}
}

func judge(words []string) ([]string, error) {
	kem := hpke.MLKEM768X25519()
	if words[1] == "x25519-hkdfsha256-aes256gcm" {
		kem = hpke.DHKEM(ecdh.X25519())
	}
	args := make([][]byte, 0, len(words))
	for _, word := range words[2:] {
		arg, err := hex.DecodeString(strings.TrimPrefix(word, "-"))
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	switch words[0] {
	case "generate":
		private, err := kem.GenerateKey()
		if err != nil {
			return nil, err
		}
		seed, err := private.Bytes()
		return ok(seed, private.PublicKey().Bytes()), err
	case "seal":
		public, err := kem.NewPublicKey(args[0])
		if err != nil {
			return nil, err
		}
		enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), args[1])
		if err != nil {
			return nil, err
		}
		ct, err := sender.Seal(args[2], args[3])
		return ok(enc, ct), err
	case "open":
		private, err := kem.NewPrivateKey(args[0])
		if err != nil {
			return nil, err
		}
		recipient, err := hpke.NewRecipient(args[1], private, hpke.HKDFSHA256(), hpke.AES256GCM(), args[2])
		if err != nil {
			return nil, err
		}
		pt, err := recipient.Open(args[3], args[4])
		return ok(pt), err
	}
	return nil, fmt.Errorf("unknown request %q", words[0])
}

func ok(values ...[]byte) []string {
	answer := []string{"ok"}
	for _, value := range values {
		if len(value) == 0 {
			answer = append(answer, "-")
			continue
		}
		answer = append(answer, hex.EncodeToString(value))
	}
	return answer
}
